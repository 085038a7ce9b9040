"""Rotated Deformable DETR and DINO: odd batches, gradients everywhere, padding, frames of predictions, learning."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from stn_det.errors import ConfigError
from stn_det.models.layers import record_sampling
from stn_det.structures import RotatedBoxes

KINDS = ['plain', 'refined', 'two_stage', 'dino']
OBJECTS = [[30.0, 30, 40, 12, 0.5], [70.0, 60, 20, 20, 0.0], [50.0, 20, 30, 10, -1.4]]
BATCHES = {'usual': (2, 1), 'one-empty': (0, 2), 'all-empty': (0, 0), 'crowded': (14, 1)}


def images(number: int = 2, height: int = 96, width: int = 96) -> Tensor:
    """Random images."""
    return torch.randn((number, 3, height, width), generator=torch.Generator().manual_seed(4))


def crowd(number: int) -> list[list[float]]:
    """Boxes, more than there are queries where wanted."""
    spread = [[8.0 + 6 * k, 90.0 - 5 * k, 14, 6, 0.2 * k - 1.5] for k in range(number)]
    return OBJECTS[:number] if number <= 3 else spread


def backward(model: nn.Module, batch: list, inputs: Tensor) -> dict[str, Tensor]:
    """Losses of a batch after their gradients were computed and found to be complete and finite."""
    losses = model.train()(inputs, batch, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    without = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert not without, f'these have no gradient, which DistributedDataParallel refuses: {without}'
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())
    return losses


@pytest.mark.parametrize('counts', BATCHES.values(), ids=list(BATCHES))
@pytest.mark.parametrize('kind', KINDS)
def test_every_batch_gives_finite_losses_and_gradients_everywhere(detector, sample, kind: str, counts: tuple) -> None:
    batch = [sample(crowd(count), size) for count, size in zip(counts, ((96, 96), (64, 80)))]
    losses = backward(detector(kind), batch, images())
    terms = {'loss_cls', 'loss_bbox', 'loss_angle', 'loss_iou'}
    prefixes = {'', 'd0.'} | ({'enc_'} if kind in ('two_stage', 'dino') else set())
    prefixes |= {'dn_', 'd0.dn_'} if kind == 'dino' else set()
    assert set(losses) == {prefix + term for prefix in prefixes for term in terms}


@pytest.mark.parametrize('kind', KINDS)
def test_a_single_class_under_autocast(detector, sample, kind: str) -> None:
    model = detector(kind, head=dict(num_classes=1))
    batch = [sample(crowd(2), classes=1), sample([], classes=1)]
    with torch.autocast('cpu', torch.bfloat16):
        backward(model, batch, images())


@pytest.mark.parametrize(
    'head',
    [
        dict(adaptive_denoising=True, union_matching=True),
        dict(loss_cls=dict(type='VarifocalLoss', loss_weight=1.0), adaptive_denoising=True),
        dict(loss_angle=None, loss_iou=dict(type='OrientedIoULoss', mode='giou')),
        dict(loss_iou=dict(type='HausdorffLoss'), box_state=dict(angle_mode='sigmoid'), loss_angle=dict(type='L1Loss')),
    ],
    ids=['adaptive-union', 'varifocal', 'giou', 'hausdorff-sigmoid'],
)
@pytest.mark.parametrize('counts', BATCHES.values(), ids=list(BATCHES))
def test_options_of_the_head_stay_finite(detector, sample, head: dict, counts: tuple) -> None:
    batch = [sample(crowd(count), size) for count, size in zip(counts, ((96, 96), (64, 80)))]
    backward(detector('dino', head=head), batch, images())


@pytest.mark.parametrize('kind', KINDS)
def test_a_model_learns_one_image(detector, sample, kind: str) -> None:
    model, batch, inputs = detector(kind), [sample(OBJECTS)], images(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    course = []
    for _ in range(25):
        torch.manual_seed(1)  # the same noise at each step
        total, _ = model.parse_losses(model.train()(inputs, batch, mode='loss'))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        course.append(total.item())
    assert min(course[-3:]) < 0.6 * course[0]


@pytest.mark.parametrize('kind', KINDS)
def test_predictions_are_the_best_pairs_in_le90(detector, sample, kind: str) -> None:
    model = detector(kind, test_cfg=dict(max_per_img=12)).eval()
    found = model(images(), [sample(OBJECTS), sample([])], mode='predict')[0].pred_instances
    assert found.bboxes.shape == (12, 5)
    assert found.labels.max() < 3
    assert torch.equal(found.scores, found.scores.sort(descending=True).values)
    assert (found.bboxes[:, 2] >= found.bboxes[:, 3]).all()
    assert (found.bboxes[:, 4] >= -math.pi / 2 - 1e-6).all()
    assert (found.bboxes[:, 4] < math.pi / 2).all()
    everything = detector(kind).eval()(images(), [sample(OBJECTS), sample([])], mode='predict')
    assert len(everything[0].pred_instances) == 30  # 10 queries of 3 classes


@pytest.mark.parametrize('kind', KINDS)
def test_predictions_return_to_the_original_image(detector, sample, kind: str) -> None:
    model, inputs = detector(kind).eval(), images(1)
    batch = [sample(OBJECTS)]
    batch[0].set_metainfo(dict(scale_factor=(2.0, 0.5)))
    plain = model.predict(inputs, batch, rescale=False)[0].pred_instances.bboxes
    scaled = model.predict(inputs, batch, rescale=True)[0].pred_instances.bboxes
    expected = RotatedBoxes(plain)
    expected.rescale_([0.5, 2.0])
    assert torch.allclose(scaled, expected.tensor)


@pytest.mark.parametrize('kind', KINDS)
def test_padding_does_not_change_predictions(detector, sample, kind: str) -> None:
    model, image = detector(kind).eval(), images(1, 64, 80)
    nn.init.zeros_(model.backbone.stem.bias)  # black padding has features of 0, as beyond the border of a convolution
    for branch in (*model.bbox_head.reg_branches, *model.bbox_head.cls_branches):
        nn.init.normal_((branch[-1] if isinstance(branch, nn.Sequential) else branch).weight, std=0.1)
    alone = model.predict(image, [sample([], (64, 80), (64, 80))])[0].pred_instances
    padded = torch.zeros(1, 3, 96, 112)
    padded[..., :64, :80] = image
    among = model.predict(padded, [sample([], (64, 80), (96, 112))])[0].pred_instances
    assert alone.scores.std() > 1e-3
    assert torch.allclose(alone.scores, among.scores, atol=1e-5)
    assert torch.allclose(alone.bboxes, among.bboxes, atol=1e-2)


def test_sampling_of_all_layers_can_be_looked_at(detector, sample) -> None:
    model = detector('dino').eval()
    with record_sampling(model) as records:
        model.predict(images(1), [sample([])])
    assert sorted(records) == [
        'decoder.layers.0.cross_attn',
        'decoder.layers.1.cross_attn',
        'encoder.layers.0.self_attn',
    ]
    assert records['decoder.layers.1.cross_attn'][0].locations.shape == (1, 10, 4, 2, 2, 2)


def test_there_may_be_fewer_cells_than_queries(detector, sample) -> None:
    for kind in ('two_stage', 'dino'):
        model = detector(kind, num_queries=300)
        backward(model, [sample(OBJECTS), sample([])], images())  # 144 + 36 cells
        assert len(model.eval().predict(images(1), [sample([])])[0].pred_instances) == 300
        assert model(images(1), None, mode='tensor')[0].shape == (2, 1, 180, 3)


def test_proposals_lie_in_the_image_and_not_in_its_padding(detector, sample) -> None:
    model = detector('dino')
    batch = [sample(OBJECTS, (48, 64)), sample([], (96, 96))]
    inputs = model.forward_transformer(model.extract_feat(images()), batch)
    start = inputs['decoded'].references[0][:, inputs['denoising'].states.shape[1] :]
    assert ((start[..., :2] > 0) & (start[..., :2] < 1)).all()
    small = model.bbox_head.box_state.boxes(start, [(48, 64), (96, 96)])[0]
    assert (small[:, 0] < 64).all()
    assert (small[:, 1] < 48).all()


def test_a_transformer_of_space_can_stand_in_front(detector, detector_config, sample) -> None:
    inner = detector('dino').eval()
    wrapped = MODELS.build(
        dict(
            type='STNDetector',
            detector=detector_config('dino'),
            transformer=dict(type='SpatialTransformer', localizer=dict(type='LocalizationNetwork')),
        )
    ).eval()
    wrapped.detector.load_state_dict(inner.state_dict())
    plain = inner.predict(images(1), [sample([])])[0].pred_instances
    warped = wrapped.predict(images(1), [sample([])])[0].pred_instances
    assert torch.allclose(warped.scores, plain.scores, atol=1e-4)
    assert torch.allclose(warped.bboxes[:5], plain.bboxes[:5], atol=1e-2)
    losses = wrapped.train()(images(1), [sample(OBJECTS)], mode='loss')
    assert torch.isfinite(wrapped.parse_losses(losses)[0])


@MODELS.register_module(force=True)
class MapEncoder(nn.Module):
    """An encoder of maps: stands for any that is registered."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 1)
        self.masks: list[Tensor] | None = None

    def forward(self, feats: tuple[Tensor, ...], masks: list[Tensor] | None) -> tuple[Tensor, ...]:
        """Maps (N, C, H_l, W_l)."""
        self.masks = masks
        return tuple(self.layer(feat) for feat in feats)


@pytest.mark.parametrize('kind', KINDS)
def test_another_encoder_of_maps_can_be_plugged_in(detector, sample, kind: str) -> None:
    model = detector(kind, encoder=dict(type='MapEncoder', channels=32), positional_encoding=None)
    backward(model, [sample(OBJECTS), sample(OBJECTS[:1], (64, 80))], images())
    assert [tuple(mask.shape) for mask in model.encoder.masks] == [(2, 12, 12), (2, 6, 6)]
    assert model.encoder.masks[0][1, 8:].all()
    assert model.encoder.masks[0][1, :, 10:].all()
    assert not model.encoder.masks[0][1, :8, :10].any()
    assert not model.encoder.masks[0][0].any()


def test_the_hybrid_encoder_fits(detector, sample) -> None:
    hybrid = dict(
        type='HybridEncoder', in_channels=[32, 32], out_channels=32, num_heads=4, feedforward_channels=64, num_blocks=1
    )
    model = detector('dino', encoder=hybrid, positional_encoding=None)
    backward(model, [sample(OBJECTS), sample(OBJECTS[:1], (64, 80))], images())
    assert len(model.eval().predict(images(1), [sample([])])[0].pred_instances) == 30


@pytest.mark.parametrize(
    ('kind', 'settings', 'message'),
    [
        ('plain', dict(head=dict(as_two_stage=True)), r"bbox_head sets \['as_two_stage'\]"),
        ('plain', dict(head=dict(embed_dims=16)), r'bbox_head.embed_dims is 16; expected 32'),
        ('plain', dict(positional_encoding=dict(num_feats=8)), r'positional_encoding num_feats 8; expected 32'),
        ('plain', dict(encoder=None), r'encoder, decoder or bbox_head is None'),
        ('dino', dict(dn_cfg=dict(num_classes=3)), r"dn_cfg sets \['num_classes'\]"),
    ],
)
def test_configs_that_do_not_fit_are_refused(detector, kind: str, settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        detector(kind, **settings)


def test_another_number_of_levels_is_refused(detector, sample) -> None:
    with pytest.raises(ConfigError, match=r'num_feature_levels is 3 and the neck gives 2'):
        detector('plain', num_feature_levels=3).predict(images(1), [sample([])])


def test_configs_are_left_as_they_were(detector) -> None:
    head = dict(num_classes=2)
    detector('two_stage', head=head)
    assert head == dict(num_classes=2)

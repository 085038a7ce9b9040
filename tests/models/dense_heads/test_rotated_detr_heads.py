"""Heads of the detection transformers: terms by hand, matching, denoising, and no waiting for the device."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from stn_det.errors import ConfigError
from stn_det.models.dense_heads.rotated_dino_head import DenoisingTargets
from stn_det.models.dense_heads.set_targets import Pairs, class_targets
from stn_det.models.layers import BoxState, ContrastiveDenoising
from stn_det.models.layers.batch_truth import BatchTruth
from stn_det.models.layers.flat_levels import Frame
from stn_det.models.layers.proposals import Proposals
from stn_det.models.task_modules.assignment import Match

SHAPE = (300, 400)  # diagonal 500
META = dict(img_shape=SHAPE, scale_factor=(1.0, 1.0))
NEAREST = dict(type='BatchHungarianAssigner', match_costs=[dict(type='HausdorffCost', weight=5.0)])


def build(kind: str = 'RotatedDeformableDETRHead', **kwargs):
    """A head of three classes whose terms all have weight 1."""
    config = dict(
        type=kind,
        num_classes=3,
        embed_dims=8,
        num_pred_layer=2,
        assigner=NEAREST,
        loss_bbox=dict(type='L1Loss', loss_weight=1.0),
        loss_angle=dict(type='PeriodicL1Loss', loss_weight=1.0),
        loss_iou=dict(type='GaussianBoxLoss', distance='kld', loss_weight=1.0),
    )
    return MODELS.build({**config, **kwargs})


def truth_of(*images: list[list[float]]) -> BatchTruth:
    """Truth of images, labels counted from 0 in each."""
    instances = [
        InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 5), labels=torch.arange(len(boxes))) for boxes in images
    ]
    return BatchTruth.of(instances, [META] * len(images))


def states_of(boxes: list[list[float]]) -> Tensor:
    """States (1, 1, Q, 5) of one layer and image."""
    return BoxState.from_boxes(torch.tensor([[boxes]]), [SHAPE])


OBJECT = [200.0, 150.0, 100.0, 50.0, -math.pi / 2]
NEAR = [204.0, 144.0, 110.0, 40.0, math.pi / 2 - 0.02]  # on the other side of the seam
FAR = [20.0, 20.0, 30.0, 10.0, 0.0]


def test_terms_of_a_matched_pair_by_hand() -> None:
    logits = torch.zeros(1, 1, 2, 3)
    losses = build().loss_by_feat(logits, states_of([FAR, NEAR]), None, truth_of([OBJECT]), [META])
    assert losses['loss_bbox'].item() == pytest.approx(4 / 400 + 6 / 300 + 10 / 500 + 10 / 500, abs=1e-6)
    assert losses['loss_angle'].item() == pytest.approx(0.02, abs=1e-5)
    alone = MODELS.build(dict(type='GaussianBoxLoss', distance='kld'))(torch.tensor([NEAR]), torch.tensor([OBJECT]))
    assert losses['loss_iou'].item() == pytest.approx(alone.item(), rel=1e-3)
    # focal loss of six scores of 0.5, one of them of an object: 0.25 x 0.25 x ln 2, the others 0.75 x 0.25 x ln 2
    assert losses['loss_cls'].item() == pytest.approx((0.0625 + 5 * 0.1875) * math.log(2), rel=1e-5)


def test_terms_are_divided_by_the_number_of_objects_of_the_batch() -> None:
    logits = torch.zeros(1, 2, 3, 3)
    states = states_of([FAR, NEAR, [100.0, 100, 50, 20, 0]]).expand(-1, 2, -1, -1)
    one = build().loss_by_feat(logits[:, :1], states[:, :1], None, truth_of([OBJECT]), [META])
    both = build().loss_by_feat(logits, states, None, truth_of([OBJECT], [OBJECT]), [META] * 2)
    for term in ('loss_cls', 'loss_bbox', 'loss_angle', 'loss_iou'):
        assert both[term].item() == pytest.approx(one[term].item(), rel=1e-5)
    with_empty = build().loss_by_feat(logits, states, None, truth_of([OBJECT], []), [META] * 2)
    assert with_empty['loss_bbox'].item() == pytest.approx(one['loss_bbox'].item(), rel=1e-5)
    assert with_empty['loss_cls'] > one['loss_cls']  # more background


def test_truth_in_another_form_is_the_same_truth() -> None:
    cx, cy, w, h, theta = OBJECT
    other = truth_of([[cx, cy, h, w, theta + math.pi / 2]])
    assert torch.allclose(other.states, truth_of([OBJECT]).states, atol=1e-6)


def test_varifocal_loss_is_taught_the_overlap() -> None:
    head = build(loss_cls=dict(type='VarifocalLoss', loss_weight=1.0))
    seen = {}
    head.loss_cls.forward = lambda pred, target, **_: seen.setdefault('target', target).sum()
    shifted = [225.0, 150.0, 100.0, 50.0, -math.pi / 2]  # half across an object that stands: IoU 1/3
    head.loss_by_feat(torch.zeros(1, 1, 2, 3), states_of([FAR, shifted]), None, truth_of([OBJECT]), [META])
    expected = torch.zeros(2, 3)
    expected[1, 0] = 1 / 3
    assert torch.allclose(seen['target'], expected, atol=1e-3)


def test_proposals_bear_the_same_losses_in_front() -> None:
    logits, states = torch.zeros(2, 1, 2, 3), states_of([FAR, NEAR]).expand(2, -1, -1, -1)
    proposals = Proposals(logits[0], states[0])
    losses = build().loss_by_feat(logits, states, proposals, truth_of([OBJECT]), [META])
    assert len(losses) == 12
    for prefix in ('enc_', 'd0.'):
        for term in ('loss_cls', 'loss_bbox', 'loss_angle', 'loss_iou'):
            assert losses[prefix + term].item() == pytest.approx(losses[term].item())


def test_each_layer_learns_boxes_of_the_union_and_classes_of_its_own() -> None:
    first, second = [NEAR, FAR], [FAR, NEAR]
    states = torch.cat([states_of(first), states_of(second)])
    logits = torch.zeros(2, 1, 2, 3)
    own = build().loss_by_feat(logits, states, None, truth_of([OBJECT]), [META])
    union = build(union_matching=True).loss_by_feat(logits, states, None, truth_of([OBJECT]), [META])
    far = build().box_losses(
        states_of([FAR])[0, 0],
        torch.tensor([FAR]),
        truth_of([OBJECT]),
        Pairs(*torch.zeros(2, 1, dtype=torch.long)),
        1.0,
    )
    for prefix in ('', 'd0.'):
        expected = (own[prefix + 'loss_bbox'] + far['loss_bbox']) / 2  # both queries, divided by both
        assert union[prefix + 'loss_bbox'].item() == pytest.approx(expected.item(), rel=1e-5)
        assert union[prefix + 'loss_cls'].item() == pytest.approx(own[prefix + 'loss_cls'].item(), rel=1e-5)


def test_pairs_and_targets_are_flat_indices() -> None:
    matches = [Match(torch.tensor([2, 0]), torch.tensor([1, 0])), Match(*torch.zeros(2, 0, dtype=torch.long))]
    matches.append(Match(torch.tensor([1]), torch.tensor([0])))
    pairs = Pairs.of(matches, 4, [2, 0, 1])
    assert pairs.rows.tolist() == [2, 0, 9]
    assert pairs.objects.tolist() == [1, 0, 2]
    targets = class_targets(torch.zeros(12, 3), pairs, torch.tensor([1, 2, 0]), torch.tensor([0.5, 1.0, 0.2]))
    assert targets.nonzero().tolist() == [[0, 1], [2, 2], [9, 0]]
    assert targets[[0, 2, 9], [1, 2, 0]].tolist() == pytest.approx([1.0, 0.5, 0.2])


def denoise(counts: tuple[int, int], queries: int = 4, **kwargs):
    """A DINO head, logits, states, denoising and truth of two images without noise, in one layer."""
    boxes = [[60.0 * k + 40, 150.0, 40, 20, 0.2 * k] for k in range(5)]
    truth = truth_of(*(boxes[:count] for count in counts))
    maker = ContrastiveDenoising(3, 8, num_dn_queries=queries, label_noise_scale=0.0, box_noise_scale=0.0)
    denoising = maker(truth, Frame((SHAPE,) * 2, SHAPE, torch.tensor([[300.0, 400.0]] * 2)))
    matching = states_of([FAR, NEAR, [390.0, 290, 8, 4, 0]]).expand(-1, 2, -1, -1)
    states = torch.cat([denoising.states[None], matching], 2)
    logits = torch.full((*states.shape[:-1], 3), -3.0)
    return build('RotatedDINOHead', **kwargs), logits, states, denoising


def test_denoising_queries_learn_their_own_object_in_every_group() -> None:
    head, logits, states, denoising = denoise((2, 1))
    assert denoising.groups == 2
    targets = DenoisingTargets.of(denoising)
    # D = 8: two groups of (2 positive, 2 negative); image 1 has one object
    assert targets.pairs.rows.tolist() == [0, 1, 4, 5, 8, 12]
    assert targets.pairs.objects.tolist() == [0, 1, 0, 1, 2, 2]
    assert targets.negative.tolist() == [2, 3, 6, 7, 10, 14]
    losses = head.denoising_losses(logits, states, denoising, [META] * 2)
    assert losses['dn_loss_bbox'].item() == pytest.approx(0, abs=1e-6)
    assert losses['dn_loss_angle'].item() == pytest.approx(0, abs=1e-6)
    moved = states.clone()
    moved[0, 0, 4, 0] += 0.12  # a positive query of group 1
    moved[0, 0, 2, 0] += 0.12  # a negative one
    moved[0, 1, 1, 0] += 0.12  # an empty slot
    losses = head.denoising_losses(logits, moved, denoising, [META] * 2)
    assert losses['dn_loss_bbox'].item() == pytest.approx(0.12 / 6, rel=1e-4)


def test_negative_queries_learn_background_and_empty_slots_nothing() -> None:
    head, logits, states, denoising = denoise((2, 1))
    before = head.denoising_losses(logits, states, denoising, [META] * 2)['dn_loss_cls'].item()
    raised = logits.clone()
    raised[0, 1, [1, 3, 5, 7]] = 5.0
    assert head.denoising_losses(raised, states, denoising, [META] * 2)['dn_loss_cls'].item() == before
    raised[0, 0, 2] = 5.0
    assert head.denoising_losses(raised, states, denoising, [META] * 2)['dn_loss_cls'].item() > before + 0.1


def test_adaptive_denoising_drops_queries_that_lost_their_object() -> None:
    head, logits, states, denoising = denoise((2, 1), adaptive_denoising=True)
    moved = states.clone()
    moved[0, 0, 4, 0] += 0.12
    moved[0, 0, 8] = denoising.truth.states[0]  # a matching query has object 0 exactly
    kept = head._kept(logits, BoxState.boxes(moved, [SHAPE] * 2), denoising, DenoisingTargets.of(denoising), [META] * 2)
    assert kept[0, 2] == 0
    assert kept[0, [1, 3, 4, 5]].tolist() == [1, 1, 1, 1]
    assert head.denoising_losses(logits, moved, denoising, [META] * 2)['dn_loss_bbox'].item() == pytest.approx(
        0, abs=1e-6
    )
    plain = denoise((2, 1))[0].denoising_losses(logits, moved, denoising, [META] * 2)
    assert plain['dn_loss_bbox'].item() == pytest.approx(0.12 / 6, rel=1e-4)


class Waits(TorchDispatchMode):
    """Collects operators that would wait for a device to know a value or a size."""

    NAMES = ('_local_scalar_dense', 'nonzero', 'masked_select', 'is_nonzero', 'unique', 'repeat_interleave.Tensor')

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        by_mask = name.startswith(('aten.index.', 'aten.index_put')) and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
        )
        if by_mask or any(part in name for part in self.NAMES):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def test_reading_a_value_is_noticed() -> None:
    with Waits() as waits:
        torch.ones(2)[torch.tensor([True, False])].sum().item()
    assert len(waits.found) >= 2


@pytest.mark.parametrize('kind', ['RotatedDeformableDETRHead', 'RotatedDINOHead'])
def test_losses_read_nothing_but_the_costs_of_matching(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    head, logits, states, denoising = denoise((3, 2))
    head = build(kind)
    copies = []
    original = Tensor.cpu
    monkeypatch.setattr(
        Tensor, 'cpu', lambda self, *args, **kwargs: copies.append(1) or original(self, *args, **kwargs)
    )
    number = denoising.states.shape[1]
    with Waits() as waits:
        head.loss_by_feat(logits[:, :, number:], states[:, :, number:], None, denoising.truth, [META] * 2)
        if kind == 'RotatedDINOHead':
            head.denoising_losses(logits, states, denoising, [META] * 2)
    assert waits.found == []
    assert len(copies) == 1


def test_predictions_take_several_classes_of_a_query_and_honour_the_settings() -> None:
    head = build(test_cfg=dict(max_per_img=3))
    logits = torch.tensor([[[3.0, -9, 2], [-9, 4, -9]]])
    states = states_of([FAR, NEAR])[0]
    found = head.predict_by_feat(logits, states, [META])[0]
    assert found.labels.tolist() == [1, 0, 2]
    assert torch.allclose(found.scores, torch.tensor([4.0, 3, 2]).sigmoid())
    assert torch.allclose(found.bboxes, torch.tensor([NEAR, FAR, FAR]), atol=1e-3)
    sure = head.predict_by_feat(logits, states, [META], cfg=dict(score_thr=0.9))[0]
    assert sure.labels.tolist() == [1, 0]


def test_untrained_heads_are_unsure_and_take_no_step() -> None:
    head = build(as_two_stage=True)
    head.init_weights()
    tokens, cells = torch.randn(1, 4, 8), states_of([FAR, NEAR, OBJECT, FAR])[0]
    logits, states = head.propose(tokens, cells)
    assert torch.allclose(states, cells, atol=1e-6)
    assert logits.sigmoid().mean().item() == pytest.approx(0.01, abs=0.01)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(num_classes=0), r'num_classes is 0; expected at least 1 foreground class'),
        (dict(test_cfg=dict(nms=dict(iou_threshold=0.1))), r"test_cfg has \['nms'\]; expected max_per_img"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**settings)

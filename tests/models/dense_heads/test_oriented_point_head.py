"""The one-stage head: shapes, losses that fall, predictions in the right frame, odd inputs."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from stn_det.errors import ConfigError
from stn_det.ops import box_iou_rotated

STRIDES = (8, 16)
SIZE = 64


def build(**kwargs):
    """A small head with weights set."""
    config = dict(
        type='OrientedPointHead',
        num_classes=3,
        in_channels=16,
        feat_channels=16,
        stacked_convs=1,
        strides=STRIDES,
        test_cfg=ConfigDict(nms_pre=100, score_thr=0.05, nms=dict(iou_threshold=0.1), max_per_img=20),
    )
    head = MODELS.build({**config, **kwargs})
    head.init_weights()
    return head


def features(batch: int = 1) -> list[Tensor]:
    """Random maps of both levels."""
    generator = torch.Generator().manual_seed(3)
    return [torch.randn((batch, 16, SIZE // s, SIZE // s), generator=generator) for s in STRIDES]


def truth(boxes: list[list[float]], labels: list[int]) -> InstanceData:
    """Truth of one image."""
    return InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 5), labels=torch.tensor(labels, dtype=torch.long))


META = dict(img_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0))
OBJECTS = truth([[20.0, 24.0, 26.0, 9.0, 0.6], [44.0, 40.0, 18.0, 18.0, 0.0]], [0, 2])


def test_outputs_have_the_documented_shapes() -> None:
    scores, codes = build()(features(2))
    assert [tuple(level.shape) for level in scores] == [(2, 3, 8, 8), (2, 3, 4, 4)]
    assert [tuple(level.shape) for level in codes] == [(2, 8, 8, 8), (2, 8, 4, 4)]


def test_untrained_head_is_unsure_and_upright() -> None:
    scores, codes = build()(features())
    assert scores[0].sigmoid().mean().item() == pytest.approx(0.01, abs=0.005)
    assert codes[0][:, 4::2].mean().item() == pytest.approx(1.0, abs=0.1)


def overfit(steps: int = 250, **kwargs) -> tuple[Tensor, list[int]]:
    """Best overlap with each of the two objects after training on them, and the predicted labels."""
    head, x = build(**kwargs), features()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(steps):
        losses = head.loss_by_feat(*head(x), [OBJECTS], [META])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    best = head.predict_by_feat(*head(x), batch_img_metas=[META])[0][:2]
    overlap = box_iou_rotated(best.bboxes, OBJECTS.bboxes)
    assert sorted(overlap.argmax(1).tolist()) == [0, 1]
    assert best.labels.tolist() == OBJECTS.labels[overlap.argmax(1)].tolist()
    return overlap.amax(0).detach(), best.labels.tolist()


GAUSSIAN = [dict(type='GaussianBoxLoss', distance=d) for d in ('kld', 'jd', 'gwd', 'bcd', 'probiou')]


@pytest.mark.parametrize('loss', [*GAUSSIAN, dict(type='KFLoss', fun='ln')], ids=lambda loss: list(loss.values())[1])
def test_gaussian_loss_overfits_but_leaves_the_square_unturned(loss: dict) -> None:
    loss = dict(loss, loss_weight=2.0)
    elongated, square = overfit(loss_bbox=loss, loss_angle_weight=0.0)[0]
    assert elongated > 0.75
    assert square > 0.69  # a square against itself turned by 45 degrees: 0.707


@pytest.mark.parametrize('mode', ['iou', 'giou'])
def test_exact_iou_beside_a_gaussian_overfits_both(mode: str) -> None:
    overlap, _ = overfit(loss_iou=dict(type='OrientedIoULoss', mode=mode, loss_weight=2.0), loss_angle_weight=1.0)
    assert overlap.min() > 0.85


SMOOTH_L1 = dict(type='SmoothL1Loss', beta=0.1)
ANGLES = {
    'pseudo': (dict(type='PseudoAngleCoder'), dict(type='PeriodicL1Loss', beta=0.1)),
    'csl': (dict(type='CSLCoder'), dict(type='SmoothFocalLoss')),
    'psc': (dict(type='PSCCoder'), SMOOTH_L1),
    'acm': (dict(type='ACMCoder'), SMOOTH_L1),
    'dfl': (dict(type='DFLAngleCoder'), dict(type='CrossEntropyLoss')),
}


@pytest.mark.parametrize('name', list(ANGLES))
def test_each_angle_coder_overfits_with_its_loss(name: str) -> None:
    coder, loss = ANGLES[name]
    overlap, _ = overfit(200, bbox_coder=dict(type='OrientedPointCoder', angle_coder=coder), loss_angle=loss)
    assert overlap.min() > 0.8


@pytest.mark.parametrize('name', list(ANGLES))
def test_angle_coders_start_as_they_say_and_stay_finite(name: str) -> None:
    coder, loss = ANGLES[name]
    head = build(bbox_coder=dict(type='OrientedPointCoder', angle_coder=coder), loss_angle=loss)
    assert torch.equal(head.conv_reg.bias[4:].detach(), head.bbox_coder.angle_coder.initial_code())
    for instances in ([truth([], []), OBJECTS], [truth([], []), truth([], [])]):
        losses = head.loss_by_feat(*head(features(2)), instances, [META] * 2)
        assert losses['loss_angle'].shape == ()
        sum(losses.values()).backward()
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


def test_loss_of_the_angle_weighs_boxes_by_their_quality() -> None:
    coder = dict(type='OrientedPointCoder', angle_coder=dict(type='ACMCoder'))
    head = build(bbox_coder=coder, loss_angle=dict(type='L1Loss', loss_weight=3.0), loss_angle_weight=2.0)
    codes = torch.zeros(1, 3, 8, requires_grad=True)
    boxes, quality = torch.tensor([[[9.0, 9, 8, 4, 0]] * 3]), torch.tensor([[0.5, 1.5, 0.0]])
    labels, bears_loss = torch.tensor([[0, 1, 3]]), torch.ones(1, 3, dtype=torch.bool)
    losses = head._losses(torch.zeros(1, 3, 3), boxes.clone(), codes, labels, quality, boxes, bears_loss)
    # the code of angle 0 is (1, 0, 1, 0): two away from zero; qualities 0.5 and 1.5 of a sum of 2
    assert losses['loss_angle'].item() == pytest.approx(2 * 3 * 2 * (0.5 + 1.5) / 2)


def test_an_angle_coder_without_a_loss_is_refused() -> None:
    coder = dict(type='OrientedPointCoder', angle_coder=dict(type='PSCCoder'))
    with pytest.raises(ConfigError, match=r'loss_angle is None; expected .* codes of PSCCoder'):
        build(bbox_coder=coder)
    assert build(bbox_coder=coder, loss_angle_weight=0.0).conv_reg.out_channels == 10


def test_prediction_is_le90_and_in_the_original_frame() -> None:
    head, x = build(), features()
    outs = head(x)
    cfg = ConfigDict(nms_pre=100, score_thr=0.0, nms=dict(iou_threshold=0.1), max_per_img=20)
    plain = head.predict_by_feat(*outs, batch_img_metas=[META], cfg=cfg)[0]
    half = head.predict_by_feat(*outs, batch_img_metas=[{**META, 'scale_factor': (2.0, 2.0)}], cfg=cfg, rescale=True)[0]
    torch.testing.assert_close(half.bboxes[:, :4], plain.bboxes[:, :4] / 2)
    assert (plain.bboxes[:, 2] >= plain.bboxes[:, 3]).all()
    assert plain.bboxes[:, 4].ge(-math.pi / 2).all()
    assert plain.bboxes[:, 4].lt(math.pi / 2).all()


@pytest.mark.parametrize('batch', [[truth([], [])], [truth([], []), OBJECTS]])
def test_images_without_objects(batch: list[InstanceData]) -> None:
    head = build(loss_angle_weight=1.0)
    losses = head.loss_by_feat(*head(features(len(batch))), batch, [META] * len(batch))
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


def test_only_ignored_objects_bear_no_loss_inside() -> None:
    head = build()
    everything = InstanceData(bboxes=torch.tensor([[32.0, 32.0, 200.0, 200.0, 0.0]]))
    losses = head.loss_by_feat(*head(features()), [truth([], [])], [META], [everything])
    assert losses['loss_cls'].item() == 0


def test_degenerate_truth_stays_finite() -> None:
    odd = truth(
        [[20.0, 24.0, 0.0, 0.0, 0.6], [-300.0, 40.0, 18.0, 18.0, 9.0], [30.0, 30.0, 5000.0, 0.1, 0.0]], [0, 1, 2]
    )
    head = build(loss_angle_weight=1.0)
    losses = head.loss_by_feat(*head(features()), [odd], [META])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


def test_autocast_bfloat16_trains_in_float32_where_it_matters() -> None:
    head = build(loss_angle_weight=0.2)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = head.loss_by_feat(*head(features()), [OBJECTS], [META])
    sum(losses.values()).backward()
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())


def test_nothing_above_the_threshold_gives_empty_instances() -> None:
    head = build()
    cfg = ConfigDict(nms_pre=100, score_thr=0.99, nms=dict(iou_threshold=0.1), max_per_img=20)
    found = head.predict_by_feat(*head(features()), batch_img_metas=[META], cfg=cfg, rescale=True)[0]
    assert found.bboxes.shape == (0, 5)
    assert found.scores.shape == found.labels.shape == (0,)


def test_deformable_last_convolution_starts_and_trains() -> None:
    head = build(dcn_on_last_conv=True)
    losses = head.loss_by_feat(*head(features()), [OBJECTS], [META])
    sum(losses.values()).backward()
    offset = head.reg_convs[-1].conv.conv_offset.weight.grad
    assert offset is not None
    assert offset.abs().sum() > 0


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [(dict(num_classes=0), 'num_classes is 0; expected'), (dict(stacked_convs=0), 'stacked_convs is 0; expected')],
)
def test_impossible_sizes_are_refused(kwargs: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        build(**kwargs)


@pytest.mark.parametrize('nms', [dict(type='soft_nms', iou_threshold=0.3), dict(iou_threshold=0.1, min_score=0.2)])
def test_nms_settings_that_would_be_passed_over_are_refused(nms: dict) -> None:
    with pytest.raises(ConfigError, match=r'test_cfg.nms is .*expected dict\(type='):
        build(test_cfg=ConfigDict(nms=nms))

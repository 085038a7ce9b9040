"""Proposal networks: equal to mmdet's on horizontal boxes, proposals that learn to hold the truth, odd inputs."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from stn_det.errors import ConfigError
from stn_det.geometry import hbox_to_rbox, rbox_to_hbox
from stn_det.models import OrientedRPNHead, RotatedRPNHead
from stn_det.ops import box_iou_rotated

STRIDES = (4, 8)
SIZE = 64
META = dict(img_shape=(SIZE, SIZE), pad_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0))
KINDS = ['RotatedRPNHead', 'OrientedRPNHead']


def build(kind: str = 'OrientedRPNHead', num: int = 64, **options) -> RotatedRPNHead:
    """A small head with weights set."""
    thresholds = dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3)
    assigner = dict(type='ChunkedMaxIoUAssigner', ignore_iof_thr=0.5, **thresholds)
    config = dict(
        type=kind,
        in_channels=16,
        feat_channels=16,
        anchor_generator=dict(type='AnchorGenerator', scales=[4], ratios=[0.5, 1.0, 2.0], strides=STRIDES),
        train_cfg=dict(
            assigner=assigner,
            sampler=dict(type='RandomSampler', num=num, pos_fraction=0.5, add_gt_as_proposals=False),
            allowed_border=-1,
            pos_weight=-1,
        ),
        test_cfg=dict(nms_pre=200, nms=dict(type='nms', iou_threshold=0.8), max_per_img=100, min_bbox_size=0),
    )
    head = MODELS.build(ConfigDict({**config, **options}))
    head.init_weights()
    return head


def features(batch: int = 1, size: int = SIZE) -> list[Tensor]:
    """Random maps of both levels."""
    generator = torch.Generator().manual_seed(3)
    return [torch.randn((batch, 16, size // s, size // s), generator=generator) for s in STRIDES]


def truth(boxes: list[list[float]] | Tensor) -> InstanceData:
    """Truth of one image."""
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 5)
    return InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long))


OBJECTS = truth([[20.0, 24.0, 26.0, 9.0, 0.6], [44.0, 40.0, 18.0, 18.0, 0.3]])


def test_equal_to_mmdet_where_all_anchors_are_sampled() -> None:
    ours = build('RotatedRPNHead', num=100_000)
    config = dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3)
    theirs = build('RPNHead', num=100_000, train_cfg=ConfigDict(ours.train_cfg, assigner=config))
    theirs.load_state_dict(ours.state_dict())
    outs, around = ours(features(2)), rbox_to_hbox(OBJECTS.bboxes)
    horizontal = InstanceData(bboxes=around, labels=OBJECTS.labels)
    expected = theirs.loss_by_feat(*outs, [horizontal] * 2, [META] * 2)
    losses = ours.loss_by_feat(*outs, [OBJECTS] * 2, [META] * 2)
    for name, value in losses.items():
        torch.testing.assert_close(value, sum(expected[name]), msg=name)
    proposals = ours.predict_by_feat(*outs, batch_img_metas=[META] * 2)
    for found, wanted in zip(proposals, theirs.predict_by_feat(*outs, batch_img_metas=[META] * 2)):
        torch.testing.assert_close(found.bboxes, wanted.bboxes)
        torch.testing.assert_close(found.scores, wanted.scores)


@pytest.mark.parametrize('suppression', ['nms', 'nms_rotated'])
def test_proposals_hold_the_truth_after_overfitting(suppression: str) -> None:
    head, x = build(test_cfg=dict(nms=dict(type=suppression, iou_threshold=0.8), max_per_img=20)), features()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    before = head.predict_by_feat(*head(x), batch_img_metas=[META])[0]
    for _ in range(150):
        losses = head.loss_by_feat(*head(x), [OBJECTS], [META])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    after = head.predict_by_feat(*head(x), batch_img_metas=[META])[0]
    assert box_iou_rotated(before.bboxes[:4], OBJECTS.bboxes).amax(0).min() < 0.6
    assert box_iou_rotated(after.bboxes[:4], OBJECTS.bboxes).amax(0).min() > 0.8
    assert after.scores[:2].min() > 0.8


def test_targets_are_oriented_and_anchors_matched_by_outer_boxes() -> None:
    head = build(num=100_000)
    anchors = torch.cat(head.prior_generator.grid_priors([(16, 16), (8, 8)], device='cpu'))
    positive, negative, targets = head._sample(anchors, OBJECTS, None, META)
    decoded = head.bbox_coder.decode(anchors[positive], targets)
    overlaps = box_iou_rotated(decoded, OBJECTS.bboxes)
    assert (overlaps.amax(1) > 0.999).all()
    assert set(overlaps.argmax(1).tolist()) == {0, 1}
    assert not set(positive.tolist()) & set(negative.tolist())


def test_proposals_are_le90_detached_and_map_back() -> None:
    head = build()
    outs = head(features())
    plain = head.predict_by_feat(*outs, batch_img_metas=[META])[0]
    half = head.predict_by_feat(*outs, batch_img_metas=[{**META, 'scale_factor': (2.0, 2.0)}], rescale=True)[0]
    torch.testing.assert_close(half.bboxes[:, :4], plain.bboxes[:, :4] / 2)
    assert not plain.bboxes.requires_grad
    assert (plain.bboxes[:, 2] >= plain.bboxes[:, 3]).all()
    assert (plain.bboxes[:, 4].abs() <= math.pi / 2 + 1e-6).all()
    assert plain.scores.diff().le(0).all()
    twice = build('RotatedRPNHead')
    outs = twice(features())
    plain = twice.predict_by_feat(*outs, batch_img_metas=[META])[0]
    half = twice.predict_by_feat(*outs, batch_img_metas=[{**META, 'scale_factor': (4.0, 2.0)}], rescale=True)[0]
    torch.testing.assert_close(half.bboxes, plain.bboxes / torch.tensor([4.0, 2, 4, 2]))


def test_outer_boxes_suppress_what_oriented_ones_keep() -> None:
    head = build()
    pair = torch.tensor([[30.0, 30.0, 40.0, 4.0, math.pi / 4], [34.0, 26.0, 40.0, 4.0, math.pi / 4]])  # side by side
    scores, levels = torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.long)
    assert head._suppress(pair, scores, levels, dict(type='nms', iou_threshold=0.5)).tolist() == [0]
    assert head._suppress(pair, scores, levels, dict(type='nms_rotated', iou_threshold=0.5)).tolist() == [0, 1]
    assert head._suppress(pair, scores, torch.tensor([0, 1]), dict(iou_threshold=0.5)).tolist() == [0, 1]


def test_padding_neither_learns_nor_proposes() -> None:
    head, small = build(num=100_000), {**META, 'img_shape': (32, 48)}
    outs = [[level.detach().requires_grad_() for level in part] for part in head(features())]
    head.loss_by_feat(*outs, [OBJECTS], [small])['loss_rpn_cls'].backward()
    touched = outs[0][0].grad[0].abs().sum(0) > 0
    assert touched[:9, :13].any()
    assert not touched[9:].any()
    assert not touched[:, 13:].any()
    weights = [torch.zeros_like(level) for level in outs[1]]
    found = head.predict_by_feat(outs[0], weights, batch_img_metas=[small])[0]
    assert (found.bboxes[:, 0] <= 48).all()
    assert (found.bboxes[:, 1] <= 32).all()


def test_allowed_border_keeps_anchors_in_the_image() -> None:
    head = build(num=100_000)
    head.train_cfg.allowed_border = 0
    anchors = torch.cat(head.prior_generator.grid_priors([(16, 16), (8, 8)], device='cpu'))
    positive, negative, _ = head._sample(anchors, OBJECTS, None, META)
    used = anchors[torch.cat([positive, negative])]
    assert used.min() >= 0
    assert used.max() <= SIZE
    assert 0 < len(used) < len(anchors)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('batch', [[truth([])], [truth([]), OBJECTS]])
def test_images_without_objects(kind: str, batch: list[InstanceData]) -> None:
    head = build(kind)
    losses = head.loss_by_feat(*head(features(len(batch))), batch, [META] * len(batch))
    sum(losses.values()).backward()
    assert losses['loss_rpn_cls'] > 0.1
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


@pytest.mark.parametrize('kind', KINDS)
def test_only_ignored_objects_bear_no_loss_inside(kind: str) -> None:
    head = build(kind)
    losses = head.loss_by_feat(*head(features()), [truth([])], [META], [truth([[32.0, 32.0, 300.0, 300.0, 0.0]])])
    sum(losses.values()).backward()
    assert [loss.item() for loss in losses.values()] == [0, 0]
    part = build(kind, num=100_000)
    anchors = torch.cat(part.prior_generator.grid_priors([(16, 16), (8, 8)], device='cpu'))
    _, negative, _ = part._sample(anchors, truth([]), truth([[0.0, 32.0, 64.0, 64.0, 0.0]]), META)
    region = torch.tensor([[0.0, 32.0, 64.0, 64.0, 0.0]])
    covered = box_iou_rotated(hbox_to_rbox(anchors), region, mode='iof')[:, 0]
    assert covered[negative].max() < 0.51
    assert (covered > 0.6).any()


def test_three_thousand_objects() -> None:
    generator = torch.Generator().manual_seed(0)
    draw = torch.rand((3000, 5), generator=generator)
    many = truth(torch.cat([draw[:, :2] * 256, 6 + draw[:, 2:4] * 10, draw[:, 4:]], 1))
    head, meta = build(), {**META, 'img_shape': (256, 256)}
    losses = head.loss_by_feat(*head(features(1, 256)), [many], [meta])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize('kind', KINDS)
def test_autocast_with_extreme_boxes_is_finite(kind: str) -> None:
    good, none, far = [32.0, 32.0, 24.0, 20.0, 0.3], [20.0, 24.0, 0.0, 0.0, 0.6], [-3e4, 40.0, 18.0, 18.0, 9.0]
    odd = truth([good, none, far, [30.0, 30.0, 5e4, 1e-4, 0.1]])
    head = build(kind)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = head.loss_by_feat(*head([level * 1e3 for level in features()]), [odd], [META])
        found = head.predict_by_feat(*head([level * 1e3 for level in features()]), batch_img_metas=[META])[0]
    sum(losses.values()).backward()
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    assert torch.isfinite(found.bboxes).all()
    assert found.bboxes.dtype == torch.float32


def test_nothing_large_enough_gives_no_proposals() -> None:
    cfg = dict(nms=dict(iou_threshold=0.8), min_bbox_size=1000)
    for kind, width in zip(KINDS, (4, 5)):
        head = build(kind)
        found = head.predict_by_feat(*head(features()), batch_img_metas=[META], cfg=ConfigDict(cfg), rescale=True)[0]
        assert found.bboxes.shape == (0, width)
        assert found.scores.shape == found.labels.shape == (0,)


def test_settings_that_would_be_passed_over_are_refused() -> None:
    with pytest.raises(ConfigError, match=r'test_cfg.nms is .*one of the types nms, nms_rotated'):
        build(test_cfg=dict(nms=dict(type='soft_nms', iou_threshold=0.8)))
    with pytest.raises(ConfigError, match=r'one of the types nms$'):
        build('RotatedRPNHead', test_cfg=dict(nms=dict(type='nms_rotated', iou_threshold=0.8)))
    with pytest.raises(ConfigError, match='expected a loss with use_sigmoid=True'):
        build(loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False))


def test_the_oriented_head_is_one_of_six_numbers() -> None:
    head = build()
    assert isinstance(head, OrientedRPNHead)
    assert [tuple(level.shape) for level in head(features(2))[1]] == [(2, 18, 16, 16), (2, 18, 8, 8)]


def test_proposals_before_and_after_suppression_are_bounded() -> None:
    head = build()
    outs = head(features())
    counts = {}
    for nms_pre, limit in ((10, 100), (-1, 100_000), (-1, 7)):
        cfg = ConfigDict(nms_pre=nms_pre, max_per_img=limit, nms=dict(iou_threshold=1.0))
        counts[nms_pre, limit] = len(head.predict_by_feat(*outs, batch_img_metas=[META], cfg=cfg)[0])
    assert counts == {(10, 100): 20, (-1, 100_000): 3 * (16**2 + 8**2), (-1, 7): 7}

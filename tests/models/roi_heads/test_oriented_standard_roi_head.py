"""Oriented R-CNN's second stage: it learns its objects, predicts in the right frame, and takes odd inputs."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from stn_det.models import OrientedStandardRoIHead
from stn_det.ops import box_iou_rotated

STRIDES = [4, 8]
SIZE = 64


def build(agnostic: bool = True, num: int = 64) -> OrientedStandardRoIHead:
    """A small head of three classes with weights set."""
    thresholds = dict(pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False, ignore_iof_thr=0.5)
    overlaps = dict(type='RBboxOverlaps2D')
    config = dict(
        type='OrientedStandardRoIHead',
        bbox_roi_extractor=dict(
            type='RotatedSingleRoIExtractor',
            roi_layer=dict(type='RoIAlignRotated', out_size=7, sample_num=2, clockwise=True),
            out_channels=16,
            featmap_strides=STRIDES,
        ),
        bbox_head=dict(
            type='RotatedShared2FCBBoxHead',
            in_channels=16,
            num_classes=3,
            fc_out_channels=64,
            reg_class_agnostic=agnostic,
            bbox_coder=dict(
                type='DeltaXYWHTRBBoxCoder',
                norm_factor=None,
                edge_swap=True,
                proj_xy=True,
                target_stds=(0.1, 0.1, 0.2, 0.2, 0.1),
            ),
        ),
        train_cfg=dict(
            assigner=dict(type='ChunkedMaxIoUAssigner', iou_calculator=overlaps, **thresholds),
            sampler=dict(type='RandomSampler', num=num, pos_fraction=0.5, add_gt_as_proposals=True),
        ),
        test_cfg=dict(score_thr=0.05, nms=dict(type='nms_rotated', iou_threshold=0.1), max_per_img=50),
    )
    head = MODELS.build(ConfigDict(config))
    head.init_weights()
    return head


def features(batch: int = 1) -> list[Tensor]:
    """Random maps of both levels."""
    generator = torch.Generator().manual_seed(3)
    return [torch.randn((batch, 16, SIZE // s, SIZE // s), generator=generator) for s in STRIDES]


def sample(boxes: Tensor, labels: list[int], ignored: Tensor | None = None) -> DetDataSample:
    """One image's truth."""
    data = DetDataSample(metainfo=dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE), scale_factor=(2.0, 2.0)))
    data.gt_instances = InstanceData(bboxes=boxes.reshape(-1, 5), labels=torch.tensor(labels, dtype=torch.long))
    if ignored is not None:
        data.ignored_instances = InstanceData(bboxes=ignored, labels=torch.zeros(len(ignored), dtype=torch.long))
    return data


BOXES = torch.tensor([[20.0, 24.0, 26.0, 9.0, 0.6], [44.0, 40.0, 20.0, 14.0, -1.2]])
OBJECTS = sample(BOXES, [0, 2])


def proposals(number: int = 60, spread: float = 3.0) -> InstanceData:
    """Boxes around the two objects, and some elsewhere."""
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn((number, 5), generator=generator) * torch.tensor([1, 1, 1, 1, 0.08]) * spread
    boxes = BOXES.repeat(number // 2, 1) + noise
    boxes[::3, :2] = torch.rand((len(boxes[::3]), 2), generator=generator) * SIZE
    boxes[:, 2:4] = boxes[:, 2:4].clamp(min=4)
    return InstanceData(bboxes=boxes, scores=torch.rand(number))


def trained(head: OrientedStandardRoIHead, steps: int = 80) -> OrientedStandardRoIHead:
    """The head after steps on the two objects."""
    optimizer = torch.optim.Adam(head.parameters(), lr=0.003)
    for _ in range(steps):
        losses = head.loss(features(), [proposals()], [OBJECTS])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    return head


@pytest.mark.parametrize('agnostic', [True, False])
def test_it_learns_two_objects_and_predicts_them_in_either_frame(agnostic: bool) -> None:
    head = trained(build(agnostic))
    found = head.predict(features(), [proposals()], [OBJECTS], rescale=False)[0]
    overlap = box_iou_rotated(BOXES, found.bboxes)
    assert overlap.amax(1).min() > 0.85
    assert found.labels[overlap.argmax(1)].tolist() == [0, 2]
    assert found.bboxes[:, 4].ge(-math.pi / 2).all()
    assert (found.bboxes[:, 2] >= found.bboxes[:, 3]).all()
    half = head.predict(features(), [proposals()], [OBJECTS], rescale=True)[0]
    both = torch.cat([found.bboxes[:, :4] / 2, found.bboxes[:, 4:]], 1)
    torch.testing.assert_close(half.bboxes, both, rtol=1e-4, atol=1e-4)


def test_images_without_objects_bear_the_loss_of_background() -> None:
    head, nothing = build(), sample(torch.zeros(0, 5), [])
    losses = head.loss(features(2), [proposals(), proposals()], [nothing, nothing])
    sum(losses.values()).backward()
    assert losses['loss_cls'] > 0.5
    assert losses['loss_bbox'] == 0
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


def test_only_ignored_objects_bear_no_loss() -> None:
    head = build()
    data = sample(torch.zeros(0, 5), [], ignored=torch.tensor([[32.0, 32.0, 400.0, 400.0, 0.3]]))
    losses = head.loss(features(), [proposals()], [data])
    sum(losses.values()).backward()
    assert [loss.item() for loss in losses.values()] == [0, 0]


def test_empty_proposals_in_training_and_testing() -> None:
    head, none = build(), InstanceData(bboxes=torch.zeros(0, 5))
    losses = head.loss(features(), [none], [OBJECTS])  # the added truth remains
    assert losses['loss_cls'] > 0
    head.bbox_sampler.add_gt_as_proposals = False
    losses = head.loss(features(), [InstanceData(bboxes=torch.zeros(0, 5))], [OBJECTS])
    sum(losses.values()).backward()
    assert [loss.item() for loss in losses.values()] == [0, 0]
    found = head.predict(features(), [InstanceData(bboxes=torch.zeros(0, 5))], [OBJECTS], rescale=True)[0]
    assert found.bboxes.shape == (0, 5)
    assert found.scores.shape == found.labels.shape == (0,)
    mixed = head.predict(features(2), [InstanceData(bboxes=torch.zeros(0, 5)), proposals()], [OBJECTS] * 2)
    assert mixed[0].bboxes.shape == (0, 5)
    assert len(mixed[1].bboxes) > 0


def test_three_thousand_objects() -> None:
    draw = torch.rand(3000, 5)
    boxes = torch.cat([draw[:, :2] * SIZE, 3 + draw[:, 2:4] * 4, draw[:, 4:]], 1)
    losses = build(num=512).loss(features(), [proposals()], [sample(boxes, [1] * 3000)])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_autocast_with_extreme_boxes_is_finite() -> None:
    odd = torch.tensor([[20.0, 24.0, 0.0, 0.0, 0.6], [-3e4, 40.0, 18.0, 18.0, 9.0], [30.0, 30.0, 5e4, 1e-4, 0.1]])
    wild = InstanceData(bboxes=torch.cat([odd, odd * 1e3, BOXES]))
    head = build()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        maps = [level.bfloat16() * 100 for level in features()]
        losses = head.loss(maps, [wild], [sample(torch.cat([odd, BOXES]), [0, 1, 2, 0, 1])])
        found = head.predict(maps, [InstanceData(bboxes=odd)], [OBJECTS])[0]
    sum(losses.values()).backward()
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())
    assert torch.isfinite(found.bboxes).all()

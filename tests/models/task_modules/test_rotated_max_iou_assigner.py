"""Assignment by largest overlap: mmdet's results where it is right, bounded memory, odd truth."""

import math
import re

import pytest
import torch
from mmdet.models.task_modules import MaxIoUAssigner
from mmengine.structures import InstanceData
from torch import Tensor

from stn_det.errors import ConfigError
from stn_det.models import RotatedMaxIoUAssigner
from stn_det.models.task_modules import rotated_max_iou_assigner as module
from stn_det.structures import RotatedBoxes

RULES = [
    dict(),
    dict(match_low_quality=False),
    dict(pos_iou_thr=0.3, neg_iou_thr=0.1, min_pos_iou=0.2),
    dict(ignore_iof_thr=0.3, min_pos_iou=0.01),
]


def instances(boxes: Tensor) -> InstanceData:
    """Truth of one image with a class for each box."""
    return InstanceData(bboxes=boxes, labels=torch.arange(len(boxes)) % 7)


def random_boxes(count: int, side: float = 30.0, size: float = 200.0) -> Tensor:
    """Boxes anywhere in a square image."""
    scale = torch.tensor([size, size, side, side, math.pi])
    return torch.rand(count, 5) * scale + torch.tensor([0.0, 0.0, 5.0, 5.0, -math.pi / 2])


@pytest.mark.parametrize('rule', RULES, ids=lambda rule: '-'.join(rule) or 'published')
def test_results_are_those_of_mmdet(rule: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'CHUNK', 17)  # 60 boxes: several chunks, the last one short
    rule = {**dict(pos_iou_thr=0.5, neg_iou_thr=0.4), **rule}
    ours = RotatedMaxIoUAssigner(**rule)
    theirs = MaxIoUAssigner(**rule, iou_calculator=dict(type='RBboxOverlaps2D'))
    priors = InstanceData(priors=random_boxes(900))
    ignored = InstanceData(bboxes=random_boxes(20, 60.0))
    truth = instances(random_boxes(60))
    found, expected = ours.assign(priors, truth, ignored), theirs.assign(priors, truth, ignored)
    assert found.num_gts == expected.num_gts == 60
    if 'ignore_iof_thr' not in rule:
        assert torch.equal(found.max_overlaps, expected.max_overlaps)
        assert torch.equal(found.gt_inds, expected.gt_inds)
        assert torch.equal(found.labels, expected.labels)
    else:  # there, priors in a region to ignore cannot be positive
        free = (found.gt_inds <= 0) & (expected.gt_inds <= 0)
        assert torch.equal(found.gt_inds[free], expected.gt_inds[free])
        assert (expected.gt_inds[free] == -1).sum() > 20
        assert free.sum() > 500
    assert len(found.gt_inds.unique()) > 20


def test_last_of_two_boxes_keeps_the_prior_that_both_like_best() -> None:
    prior = InstanceData(priors=torch.tensor([[10.0, 10.0, 20.0, 20.0, 0.0]]))
    small = torch.tensor([[10.0, 10.0, 6.0, 6.0, 0.0], [12.0, 10.0, 5.0, 5.0, 0.0]])
    assert RotatedMaxIoUAssigner().assign(prior, instances(small)).gt_inds.tolist() == [2]


def test_a_box_that_overlaps_nothing_claims_nothing() -> None:
    priors = InstanceData(priors=torch.tensor([[10.0, 10.0, 20.0, 20.0, 0.0], [60.0, 10.0, 20.0, 20.0, 0.0]]))
    odd = torch.tensor([[10.0, 10.0, 0.0, 0.0, 0.0], [-900.0, 0.0, 9.0, 9.0, 0.0], [10.0, 10.0, math.nan, 9.0, 0.0]])
    found = RotatedMaxIoUAssigner().assign(priors, instances(odd))
    assert found.gt_inds.tolist() == [0, 0]
    assert found.labels.tolist() == [-1, -1]


def test_regions_to_ignore_count_without_objects() -> None:
    priors = InstanceData(priors=torch.tensor([[10.0, 10.0, 20.0, 20.0, 0.0], [60.0, 10.0, 20.0, 20.0, 0.0]]))
    ignored = InstanceData(bboxes=torch.tensor([[10.0, 10.0, 40.0, 40.0, 0.3]]))
    assigner = RotatedMaxIoUAssigner(ignore_iof_thr=0.5)
    assert assigner.assign(priors, instances(torch.zeros(0, 5)), ignored).gt_inds.tolist() == [-1, 0]
    assert RotatedMaxIoUAssigner().assign(priors, instances(torch.zeros(0, 5)), ignored).gt_inds.tolist() == [0, 0]


def test_an_object_in_a_region_to_ignore_keeps_its_prior() -> None:
    priors = InstanceData(priors=torch.tensor([[10.0, 10.0, 20.0, 20.0, 0.0]]))
    ignored = InstanceData(bboxes=RotatedBoxes([[10.0, 10.0, 90.0, 90.0, 0.3]]))
    found = RotatedMaxIoUAssigner(ignore_iof_thr=0.5).assign(priors, instances(priors.priors), ignored)
    assert found.gt_inds.tolist() == [1]


@pytest.mark.parametrize('boxes', [0, 3])
def test_no_priors(boxes: int) -> None:
    found = RotatedMaxIoUAssigner().assign(InstanceData(priors=torch.zeros(0, 5)), instances(random_boxes(boxes)))
    assert found.gt_inds.shape == found.max_overlaps.shape == found.labels.shape == (0,)


def test_overlaps_of_thousands_of_boxes_are_never_held_at_once() -> None:
    assigner = RotatedMaxIoUAssigner()
    calculator, seen = assigner.iou_calculator, []

    def watched(boxes1: Tensor, boxes2: Tensor, mode: str = 'iou') -> Tensor:
        overlaps = calculator(boxes1, boxes2, mode)
        seen.append(tuple(overlaps.shape))
        return overlaps

    assigner.iou_calculator = watched
    truth = instances(random_boxes(3000, 8.0, 1024.0))
    found = assigner.assign(InstanceData(priors=random_boxes(4000, 30.0, 1024.0)), truth)
    assert max(rows for rows, _ in seen) == module.CHUNK
    assert sum(rows for rows, _ in seen) == 3000
    assert (found.gt_inds > 0).sum() > 500


@pytest.mark.parametrize('rule', [dict(pos_iou_thr=0.5, neg_iou_thr=0.6), dict(pos_iou_thr=0.0, neg_iou_thr=0.0)])
def test_thresholds_without_a_meaning_are_refused(rule: dict) -> None:
    match = f'neg_iou_thr is {rule["neg_iou_thr"]} and pos_iou_thr is {rule["pos_iou_thr"]}; expected'
    with pytest.raises(ConfigError, match=re.escape(match)):
        RotatedMaxIoUAssigner(**rule)

"""Sampled regions: what horizontal and oriented proposals are compared with, and what goes along."""

import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

from stn_det.models.roi_heads.sampling import sample_regions

TRUTH = InstanceData(
    bboxes=torch.tensor([[30.0, 30, 40, 10, 0.8], [70, 70, 20, 20, 0]]),
    labels=torch.tensor([4, 2]),
    headings=torch.tensor([0.8, 1.5]),
)


def tools(overlaps: str, add_truth: bool = False) -> tuple:
    """Assigner and sampler that takes everything."""
    options = dict(pos_iou_thr=0.5, neg_iou_thr=0.5, match_low_quality=False, ignore_iof_thr=0.5)
    assigner = dict(type='ChunkedMaxIoUAssigner', iou_calculator=dict(type=overlaps), **options)
    sampler = dict(type='RandomSampler', num=64, pos_fraction=0.5, add_gt_as_proposals=add_truth)
    return TASK_UTILS.build(assigner), TASK_UTILS.build(sampler)


def test_horizontal_proposals_meet_the_boxes_around_the_truth() -> None:
    half = (40 * torch.tensor(0.8).cos() + 10 * torch.tensor(0.8).sin()).item() / 2
    regions = torch.tensor([[60.0, 60, 80, 80], [30 - half, 12, 30 + half, 48], [0, 0, 9, 9]])
    found = sample_regions(*tools('BboxOverlaps2D'), regions, TRUTH)
    assert found.pos_inds.tolist() == [0, 1]
    assert torch.equal(found.pos_gt_bboxes, TRUTH.bboxes[[1, 0]])
    assert found.pos_gt_labels.tolist() == [2, 4]
    assert torch.equal(found.pos_gt_headings, TRUTH.headings[[1, 0]])
    assert torch.equal(found.neg_priors, regions[2:])


def test_oriented_proposals_meet_the_truth_itself() -> None:
    regions = torch.tensor([[30.0, 30, 40, 10, -0.8], [70, 70, 20, 22, 0]])  # the first is crossed with its object
    found = sample_regions(*tools('RBboxOverlaps2D'), regions, TRUTH)
    assert found.pos_inds.tolist() == [1]
    assert found.neg_inds.tolist() == [0]


def test_added_truth_is_of_the_kind_of_the_proposals() -> None:
    for overlaps, width in (('BboxOverlaps2D', 4), ('RBboxOverlaps2D', 5)):
        found = sample_regions(*tools(overlaps, add_truth=True), torch.zeros(0, width), TRUTH)
        assert found.pos_priors.shape == (2, width)
        assert found.pos_is_gt.tolist() == [1, 1]
        assert torch.equal(found.pos_gt_bboxes, TRUTH.bboxes)


def test_ignored_regions_bear_no_loss_though_there_is_no_object() -> None:
    nothing = InstanceData(bboxes=torch.zeros(0, 5), labels=torch.zeros(0, dtype=torch.long))
    region = InstanceData(bboxes=torch.tensor([[20.0, 20, 60, 60, 0.1]]))
    proposals = torch.tensor([[20.0, 20, 12, 8, 0.3], [90, 90, 12, 8, 0.3]])
    found = sample_regions(*tools('RBboxOverlaps2D'), proposals, nothing, region)
    assert found.neg_inds.tolist() == [1]
    assert found.pos_gt_bboxes.shape == (0, 5)


def test_a_gradient_goes_through_to_the_sampled_regions() -> None:
    regions = torch.tensor([[70.0, 70, 20, 22, 0], [5, 5, 9, 9, 0]], requires_grad=True)
    found = sample_regions(*tools('RBboxOverlaps2D', add_truth=True), regions, TRUTH)
    found.priors.sum().backward()
    assert torch.equal(regions.grad, torch.ones(2, 5))

"""The assigner in chunks: equal to mmdet's, whatever the chunk; regions to ignore; many and no objects."""

import math

import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from stn_det.errors import ConfigError
from stn_det.models import ChunkedMaxIoUAssigner


def build(**options) -> ChunkedMaxIoUAssigner:
    """An assigner as configs build it."""
    thresholds = dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3)
    return TASK_UTILS.build(dict(type='ChunkedMaxIoUAssigner', **{**thresholds, **options}))


def oriented() -> ChunkedMaxIoUAssigner:
    """An assigner of oriented boxes with the published thresholds of RetinaNet."""
    return build(iou_calculator=dict(type='RBboxOverlaps2D'), pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0.0)


def hboxes(number: int, seed: int, size: float = 40) -> Tensor:
    """Horizontal boxes (number, 4) on whole pixels, so that overlaps tie."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.randint(0, 60, (number, 2), generator=generator).float()
    return torch.cat([low, low + torch.randint(8, int(size), (number, 2), generator=generator)], 1)


def instances(boxes: Tensor) -> InstanceData:
    """Truth with labels 0, 1, ..."""
    return InstanceData(bboxes=boxes, labels=torch.arange(boxes.shape[0]))


@pytest.mark.parametrize('max_pairs', [1, 600 * 3, 2**22])
@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(match_low_quality=False, pos_iou_thr=0.5, neg_iou_thr=0.5),
        dict(gt_max_assign_all=False),
        dict(neg_iou_thr=(0.1, 0.3)),
    ],
)
def test_equal_to_mmdet_for_any_chunk(options: dict, max_pairs: int) -> None:
    priors, truth = InstanceData(priors=hboxes(600, 0)), instances(hboxes(10, 1))
    thresholds = dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3)
    theirs = TASK_UTILS.build(dict(type='MaxIoUAssigner', **{**thresholds, **options})).assign(priors, truth)
    ours = build(max_pairs=max_pairs, **options).assign(priors, truth)
    assert ours.gt_inds.gt(0).sum() > 5
    assert torch.equal(ours.gt_inds, theirs.gt_inds)
    assert torch.equal(ours.max_overlaps, theirs.max_overlaps)
    assert torch.equal(ours.labels, theirs.labels)


def test_background_in_ignored_regions_bears_no_loss_with_and_without_objects() -> None:
    priors = InstanceData(priors=torch.tensor([[0.0, 0, 10, 10], [0, 0, 30, 30], [60, 60, 70, 70]]))
    region = InstanceData(bboxes=torch.tensor([[0.0, 0, 16, 16]]))  # all of the first prior, 28 % of the second
    assigner = build(ignore_iof_thr=0.5)
    assert assigner.assign(priors, instances(torch.zeros(0, 4)), region).gt_inds.tolist() == [-1, 0, 0]
    truth = instances(torch.tensor([[60.0, 60, 70, 70]]))
    assert assigner.assign(priors, truth, region).gt_inds.tolist() == [-1, 0, 1]
    assert build().assign(priors, truth, region).gt_inds.tolist() == [0, 0, 1]  # switched off


def test_an_object_in_an_ignored_region_keeps_its_priors() -> None:
    priors = InstanceData(priors=torch.tensor([[0.0, 0, 10, 10], [2, 2, 8, 8]]))
    region = InstanceData(bboxes=torch.tensor([[0.0, 0, 16, 16]]))
    truth = instances(torch.tensor([[0.0, 0, 10, 11]]))
    assert build(ignore_iof_thr=0.5).assign(priors, truth, region).gt_inds.tolist() == [1, -1]


def test_a_box_claims_no_prior_that_it_does_not_touch() -> None:
    priors = InstanceData(priors=torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]]))
    truth = instances(torch.tensor([[50.0, 50, 60, 60]]))
    assert build(min_pos_iou=0.0).assign(priors, truth).gt_inds.tolist() == [0, 0]


def test_oriented_boxes() -> None:
    crossed = torch.tensor([[50.0, 50, 40, 10, 0.8], [50, 50, 40, 10, -0.8]])
    assigner = build(iou_calculator=dict(type='RBboxOverlaps2D'), pos_iou_thr=0.5, neg_iou_thr=0.5, max_pairs=2)
    found = assigner.assign(InstanceData(priors=crossed + 0.01), instances(crossed.flip(0)))
    assert found.gt_inds.tolist() == [2, 1]


def test_last_of_two_boxes_keeps_the_prior_that_both_like_best() -> None:
    prior = InstanceData(priors=torch.tensor([[10.0, 10.0, 20.0, 20.0, 0.0]]))
    small = torch.tensor([[10.0, 10.0, 6.0, 6.0, 0.0], [12.0, 10.0, 5.0, 5.0, 0.0]])
    assert oriented().assign(prior, instances(small)).gt_inds.tolist() == [2]


def test_a_box_that_overlaps_nothing_claims_nothing() -> None:
    priors = InstanceData(priors=torch.tensor([[10.0, 10.0, 20.0, 20.0, 0.0], [60.0, 10.0, 20.0, 20.0, 0.0]]))
    odd = torch.tensor([[10.0, 10.0, 0.0, 0.0, 0.0], [-900.0, 0.0, 9.0, 9.0, 0.0], [10.0, 10.0, math.nan, 9.0, 0.0]])
    found = oriented().assign(priors, instances(odd))
    assert found.gt_inds.tolist() == [0, 0]
    assert found.labels.tolist() == [-1, -1]


def test_no_priors_and_nothing_at_all() -> None:
    empty = InstanceData(priors=torch.zeros(0, 4))
    assert build().assign(empty, instances(hboxes(3, 0))).gt_inds.shape == (0,)
    assert build().assign(empty, instances(torch.zeros(0, 4))).gt_inds.shape == (0,)


def test_three_thousand_objects_are_compared_in_chunks() -> None:
    seen = []

    class Watched:
        """Overlaps that remember how large they were."""

        def __init__(self) -> None:
            self.inner = TASK_UTILS.build(dict(type='BboxOverlaps2D'))

        def __call__(self, first: Tensor, second: Tensor, mode: str = 'iou') -> Tensor:
            seen.append(first.shape[0] * second.shape[0])
            return self.inner(first, second, mode=mode)

    assigner = build(max_pairs=200_000)
    assigner.iou_calculator = Watched()
    found = assigner.assign(InstanceData(priors=hboxes(1000, 0)), instances(hboxes(3000, 1)))
    assert max(seen) <= 200_000
    assert sum(seen) == 3_000_000
    assert found.num_gts == 3000


@pytest.mark.parametrize(
    ('options', 'match'),
    [(dict(neg_iou_thr=0.8), 'neg_iou_thr is 0.8 and pos_iou_thr'), (dict(max_pairs=0), 'max_pairs')],
)
def test_options_that_do_not_fit_are_refused(options: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        build(**options)

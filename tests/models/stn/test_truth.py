"""Truth under a warp."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData

from stn_det.errors import InputError
from stn_det.geometry import rbox_to_qbox, translation
from stn_det.geometry.warp import MatrixWarp
from stn_det.models.stn.truth import transform_truth
from stn_det.structures import QuadriBoxes, RotatedBoxes

RBOXES = torch.tensor([[20.0, 20, 10, 4, 0.3], [90, 50, 8, 4, -0.2]])
SHIFT = MatrixWarp(translation(15, 0)[None], (100, 100))


def _sample(boxes, **ignored):
    sample = DetDataSample(metainfo=dict(img_shape=(90, 95), scale_factor=(1.0, 1.0)))
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.arange(len(boxes)))
    if ignored:
        sample.ignored_instances = InstanceData(**ignored)
    return sample


@pytest.mark.parametrize(
    'boxes', [RBOXES, RotatedBoxes(RBOXES), rbox_to_qbox(RBOXES), QuadriBoxes(rbox_to_qbox(RBOXES))]
)
def test_a_box_that_leaves_becomes_a_region_to_ignore(boxes):
    sample = _sample(boxes)
    moved, lost = transform_truth(sample, SHIFT)
    assert lost == 1
    assert moved.gt_instances.labels.tolist() == [0]
    assert type(moved.gt_instances.bboxes) is type(boxes)
    assert moved.ignored_instances.labels.tolist() == [1]
    assert moved.img_shape == (100, 100)
    assert sample.gt_instances.bboxes is boxes
    assert sample.img_shape == (90, 95)


def test_boxes_move_with_the_pixels():
    moved, _ = transform_truth(_sample(RBOXES), SHIFT)
    assert torch.equal(moved.gt_instances.bboxes, torch.tensor([[35.0, 20, 10, 4, 0.3]]))
    horizontal = HorizontalBoxes(torch.tensor([[10.0, 10, 20, 30]]))
    moved, _ = transform_truth(_sample(horizontal), SHIFT)
    assert torch.equal(moved.gt_instances.bboxes.tensor, torch.tensor([[25.0, 10, 35, 30]]))


def test_regions_to_ignore_move_too_and_join():
    ignored = dict(bboxes=torch.tensor([[50.0, 50, 4, 4, 0]]), labels=torch.tensor([7]))
    moved, _ = transform_truth(_sample(RBOXES, **ignored), SHIFT)
    assert moved.ignored_instances.labels.tolist() == [1, 7]
    assert moved.ignored_instances.bboxes[:, 0].tolist() == [105, 65]


def test_no_truth_at_all():
    moved, lost = transform_truth(_sample(torch.zeros(0, 5)), SHIFT)
    assert len(moved.gt_instances) == 0
    assert lost == 0


def test_boxes_behind_the_horizon_are_left_out():
    horizon = torch.eye(3, dtype=torch.float64)
    horizon[2, 0] = -0.02  # at x = 50
    moved, _ = transform_truth(_sample(RBOXES), MatrixWarp(horizon[None], (100, 100)))
    assert moved.gt_instances.bboxes.isfinite().all()
    assert 1 not in moved.gt_instances.labels


def test_errors():
    sample = _sample(RBOXES)
    sample.gt_instances.masks = torch.zeros(2, 3)
    with pytest.raises(InputError, match=r"gt_instances hold \['masks'\]"):
        transform_truth(sample, SHIFT)

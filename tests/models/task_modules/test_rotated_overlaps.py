"""The overlaps that assigners ask for: known values, mmdet's calls, bounded memory."""

import math

import pytest
import torch
from mmdet.models.task_modules import MaxIoUAssigner
from mmengine.structures import InstanceData

from stn_det.errors import InputError
from stn_det.models import RBboxOverlaps2D
from stn_det.structures import RotatedBoxes

CROSS = torch.tensor([[50.0, 50.0, 40.0, 10.0, 0.0], [50.0, 50.0, 40.0, 10.0, -math.pi / 2]])


def test_known_overlaps() -> None:
    overlaps = RBboxOverlaps2D()(CROSS[:1], torch.cat([CROSS, torch.tensor([[60.0, 50.0, 40.0, 10.0, 0.0]])]))
    torch.testing.assert_close(overlaps, torch.tensor([[1.0, 100 / 700, 300 / 500]]), rtol=1e-5, atol=1e-6)


def test_iof_is_over_the_area_of_the_first() -> None:
    small = torch.tensor([[50.0, 50.0, 10.0, 10.0, 0.0]])
    overlaps = RBboxOverlaps2D()
    assert overlaps(small, CROSS[:1], mode='iof').item() == pytest.approx(1.0)
    assert overlaps(CROSS[:1], small, mode='iof').item() == pytest.approx(0.25)


def test_aligned_is_the_diagonal() -> None:
    boxes = torch.cat([CROSS, CROSS + torch.tensor([3.0, 1.0, 0.0, 0.0, 0.2])])
    overlaps = RBboxOverlaps2D()
    torch.testing.assert_close(overlaps(boxes, boxes.flip(0), is_aligned=True), overlaps(boxes, boxes.flip(0)).diag())


def test_box_types_and_half_precision_are_taken() -> None:
    overlaps = RBboxOverlaps2D()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        result = overlaps(RotatedBoxes(CROSS), CROSS.bfloat16())
    assert result.dtype == torch.float32
    torch.testing.assert_close(result[0, 0], torch.tensor(1.0), rtol=0, atol=0.02)


@pytest.mark.parametrize('empty', [(0, 4), (0, 5)])
def test_no_boxes_overlap_nothing(empty: tuple[int, int]) -> None:
    overlaps = RBboxOverlaps2D()
    assert overlaps(torch.zeros(empty), CROSS).shape == (0, 2)
    assert overlaps(CROSS, torch.zeros(empty), mode='iof').shape == (2, 0)


def test_upright_boxes_are_refused() -> None:
    with pytest.raises(InputError, match=r'bboxes2 has shape \(3, 4\), expected \(M, 5\)'):
        RBboxOverlaps2D()(CROSS, torch.zeros(3, 4))


def test_mmdets_assigner_works_with_them() -> None:
    assigner = MaxIoUAssigner(0.5, 0.4, ignore_iof_thr=0.5, iou_calculator=dict(type='RBboxOverlaps2D'))
    priors = torch.tensor(
        [[50.0, 50, 40, 10, 0.1], [50.0, 50, 10, 40, 0.1], [200.0, 200, 30, 30, 0], [90, 90, 9, 9, 0]]
    )
    truth = InstanceData(bboxes=RotatedBoxes(CROSS), labels=torch.tensor([3, 5]))
    ignored = InstanceData(bboxes=torch.tensor([[200.0, 200.0, 60.0, 60.0, 0.7]]))
    found = assigner.assign(InstanceData(priors=priors), truth, ignored)
    assert found.gt_inds.tolist() == [1, 2, -1, 0]
    assert found.labels.tolist() == [3, 5, -1, -1]

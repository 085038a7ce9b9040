"""Boxes of samples moved by a warp: every type, copies, and back again."""

import math

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData

from stn_det.errors import InputError
from stn_det.geometry import rbox_to_qbox
from stn_det.geometry.warp import MatrixWarp
from stn_det.models.warped_samples import warp_boxes, warp_instances, warp_samples
from stn_det.structures import QuadriBoxes, RotatedBoxes

RBOXES = torch.tensor([[30.0, 26.0, 40.0, 12.0, 0.7], [88.0, 40.0, 20.0, 10.0, 0.0]])


def warp(count: int = 1) -> MatrixWarp:
    """Different similarities of a frame of 64 x 96 pixels."""
    parameters = torch.tensor([[0.3, 0.1, 0.2, -0.1], [-0.2, -0.1, 0.0, 0.3]])[:count]
    return MatrixWarp.from_parameters(parameters, 'similarity', (64, 96))


def test_rotated_and_quadrilateral_boxes_stay_one_shape() -> None:
    rotated, quadri = warp_boxes(RBOXES, warp()), warp_boxes(rbox_to_qbox(RBOXES), warp())
    assert (rotated[:, 4] - RBOXES[:, 4]).tolist() == pytest.approx([0.3, 0.3])
    assert (rotated[:, 2] / RBOXES[:, 2]).tolist() == pytest.approx([math.exp(0.1)] * 2)
    assert torch.allclose(rbox_to_qbox(rotated), quadri, atol=1e-4)


def test_types_and_empty_sets_are_kept() -> None:
    flat = torch.tensor([[10.0, 20.0, 50.0, 40.0]])
    for boxes in (RotatedBoxes(RBOXES), QuadriBoxes(rbox_to_qbox(RBOXES)), HorizontalBoxes(flat)):
        moved = warp_boxes(boxes, warp())
        assert type(moved) is type(boxes)
        assert torch.equal(moved.tensor, warp_boxes(boxes.tensor, warp()))
    for columns in (4, 5, 8):
        assert warp_boxes(torch.zeros(0, columns), warp()).shape == (0, columns)
    with pytest.raises(InputError, match=r'boxes have shape \(2, 3\), expected'):
        warp_boxes(torch.zeros(2, 3), warp())


def test_there_and_back() -> None:
    assert torch.allclose(warp_boxes(warp_boxes(RBOXES, warp()), warp().inverse()), RBOXES, atol=1e-4)


def test_samples_are_copied_and_each_goes_by_its_own_map() -> None:
    samples = [DetDataSample(metainfo=dict(img_id=index)) for index in range(2)]
    for sample in samples:
        sample.gt_instances = InstanceData(bboxes=RBOXES.clone(), labels=torch.tensor([3, 4]))
    samples[1].ignored_instances = InstanceData(bboxes=RBOXES[:1].clone())
    moved = warp_samples(samples, warp(2))
    for index, (sample, copy) in enumerate(zip(samples, moved)):
        assert torch.equal(sample.gt_instances.bboxes, RBOXES)
        assert torch.equal(copy.gt_instances.bboxes, warp_boxes(RBOXES, warp(2)[index]))
        assert copy.gt_instances.labels.tolist() == [3, 4]
        assert copy.img_id == index
    assert torch.equal(samples[1].ignored_instances.bboxes, RBOXES[:1])
    assert torch.equal(moved[1].ignored_instances.bboxes, moved[1].gt_instances.bboxes[:1])
    with pytest.raises(InputError, match='there are 2 samples and 1 maps; expected one a sample'):
        warp_samples(samples, warp(1))


def test_masks_are_refused() -> None:
    with pytest.raises(InputError, match='hold masks, and only boxes are moved'):
        warp_instances(InstanceData(bboxes=RBOXES, masks=torch.zeros(2, 4, 4)), warp())

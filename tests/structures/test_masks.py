"""Masks of boxes and boxes of masks."""

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks, PolygonMasks

from stn_det.errors import InputError
from stn_det.structures import QuadriBoxes, RotatedBoxes

KINDS = pytest.mark.parametrize('kind', [RotatedBoxes, QuadriBoxes])


@KINDS
def test_flat_box_covers_its_pixels(kind):
    masks = RotatedBoxes([[4.0, 3.0, 4.0, 2.0, 0.0]]).convert_to(kind).create_masks((6, 8)).masks
    expected = np.zeros((1, 6, 8), np.uint8)
    expected[0, 2:4, 2:6] = 1
    np.testing.assert_array_equal(masks, expected)


@KINDS
def test_mask_area_is_the_box_area(kind, rboxes):
    inside = rboxes[(rboxes[:, 0] > 60) & (rboxes[:, 0] < 240) & (rboxes[:, 1] > 60) & (rboxes[:, 1] < 140)]
    boxes = RotatedBoxes(inside).convert_to(kind)
    counted = boxes.create_masks((200, 300)).masks.sum((1, 2))
    np.testing.assert_allclose(counted, boxes.areas.numpy(), rtol=0.05, atol=8)


@KINDS
def test_parts_outside_of_the_image_are_left_out(kind):
    boxes = RotatedBoxes([[0.0, 0.0, 4.0, 4.0, 0.0], [-50.0, 3.0, 4.0, 4.0, 0.0]]).convert_to(kind)
    masks = boxes.create_masks((6, 8)).masks
    assert masks[0].sum() == 4
    assert masks[1].sum() == 0


@KINDS
def test_bitmap_round_trip(kind, quad_distance):
    boxes = RotatedBoxes(
        [[100.0, 90.0, 80.0, 30.0, 0.4], [150.0, 100.0, 60.0, 20.0, -1.1], [40.0, 40.0, 20.0, 10.0, 0]]
    )
    found = kind.from_instance_masks(boxes.create_masks((200, 300)))
    assert type(found) is kind
    assert quad_distance(found.corners.flatten(-2), boxes.corners.flatten(-2)).max() < 1.6  # whole pixels stick out
    assert torch.allclose(found.convert_to('hbox').tensor[2], torch.tensor([30.0, 35.0, 50.0, 45.0]), atol=1e-3)


@KINDS
def test_boxes_enclose_all_pixels_of_a_mask(kind):
    mask = np.zeros((60, 80), np.uint8)
    cv2.circle(mask, (20, 20), 8, 1, -1)
    cv2.circle(mask, (60, 40), 5, 1, -1)
    box = RotatedBoxes.from_instance_masks(BitmapMasks(mask[None], 60, 80))
    rows, columns = np.nonzero(mask)
    offsets = [(0, 0), (1, 0), (0, 1), (1, 1)]
    pixel_corners = torch.tensor(np.concatenate([np.stack([columns + a, rows + b], -1) for a, b in offsets])).float()
    box.tensor[:, 2:4] += 1e-3
    assert box.find_inside_points(pixel_corners).all()


@KINDS
def test_polygons(kind, quad_distance):
    corners = RotatedBoxes([[100.0, 90.0, 80.0, 30.0, 0.4]]).corners[0]
    in_two_parts = [[corners[:3].flatten().numpy(), corners[[0, 2, 3]].flatten().numpy()]]
    found = kind.from_instance_masks(PolygonMasks(in_two_parts, 200, 300))
    assert quad_distance(found.corners.flatten(-2), corners.reshape(1, 8)).max() < 1e-2


@KINDS
def test_empty_masks_give_zeros(kind):
    assert kind.from_instance_masks(BitmapMasks(np.zeros((2, 5, 5), np.uint8), 5, 5)).tensor.abs().sum() == 0
    assert kind.from_instance_masks(PolygonMasks([[np.ones(8)], []], 5, 5)).tensor[1].abs().sum() == 0
    assert kind.from_instance_masks(BitmapMasks(np.zeros((0, 5, 5), np.uint8), 5, 5)).shape == (0, kind.box_dim)


@KINDS
def test_single_pixel_is_a_unit_square(kind):
    mask = np.zeros((1, 5, 5), np.uint8)
    mask[0, 2, 3] = 1
    assert torch.allclose(
        kind.from_instance_masks(BitmapMasks(mask, 5, 5)).convert_to('hbox').tensor,
        torch.tensor([[3.0, 2.0, 4.0, 3.0]]),
    )


@KINDS
def test_other_types_are_refused(kind):
    with pytest.raises(InputError, match='masks must be BitmapMasks or PolygonMasks, got ndarray'):
        kind.from_instance_masks(np.zeros((1, 5, 5)))

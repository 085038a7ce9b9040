"""QuadriBoxes alone: corner order, quads that are no rectangles, overlaps."""

import torch
from shapely.geometry import Polygon

from stn_det.structures import QuadriBoxes, RotatedBoxes


def test_corner_i_stays_corner_i(qboxes):
    boxes = QuadriBoxes(qboxes)
    boxes.flip_((200, 300))
    expected = qboxes.clone()
    expected[:, 0::2] = 300 - expected[:, 0::2]
    assert torch.allclose(boxes.tensor, expected, atol=1e-4)


def test_resize_and_its_inverse_give_the_quad_back():
    trapezium = torch.tensor([[0.0, 0, 40, 0, 30, 10, 10, 10], [5.0, 5, 25, 8, 24, 18, 4, 14]])
    boxes = QuadriBoxes(trapezium)
    boxes.resize_((3.0, 2.0))
    assert torch.allclose(boxes.areas, QuadriBoxes(trapezium).areas * 6, rtol=1e-4)
    boxes.resize_((1 / 3, 1 / 2))
    assert torch.allclose(boxes.tensor, trapezium, atol=1e-3)


def test_overlaps_are_those_of_polygons(qboxes):
    boxes = QuadriBoxes(qboxes[:12])
    polygons = [Polygon(quad.reshape(4, 2).tolist()).convex_hull for quad in qboxes[:12]]
    expected = torch.tensor([[a.intersection(b).area / a.union(b).area for b in polygons] for a in polygons])
    assert (expected > 0).sum() > 12
    assert torch.allclose(QuadriBoxes.overlaps(boxes, boxes), expected, atol=1e-4)
    assert torch.allclose(QuadriBoxes.overlaps(boxes, boxes, is_aligned=True), torch.ones(12), atol=1e-4)


def test_overlap_over_the_area_of_the_first():
    small = QuadriBoxes([[45.0, 45.0, 55.0, 45.0, 55.0, 55.0, 45.0, 55.0]])
    big = QuadriBoxes([[40.0, 40.0, 60.0, 40.0, 60.0, 60.0, 40.0, 60.0]])
    assert torch.allclose(QuadriBoxes.overlaps(small, big, mode='iof'), torch.ones(1, 1), atol=1e-5)
    assert torch.allclose(QuadriBoxes.overlaps(big, small, mode='iof'), torch.full((1, 1), 0.25), atol=1e-5)


def test_overlaps_convert_other_box_types():
    rotated = RotatedBoxes([[50.0, 50.0, 20.0, 10.0, 0.4]])
    assert torch.allclose(QuadriBoxes.overlaps(rotated, rotated.convert_to('qbox')), torch.ones(1, 1), atol=1e-4)
    assert QuadriBoxes.overlaps(QuadriBoxes([]), rotated).shape == (0, 1)


def test_area_is_the_polygon_and_not_the_rectangle():
    triangle = QuadriBoxes([[0.0, 0.0, 10.0, 0.0, 0.0, 10.0, 0.0, 10.0]])
    assert triangle.areas.item() == 50.0
    assert torch.allclose(triangle.widths * triangle.heights, torch.tensor([100.0]))


def test_points_in_a_quad_that_is_not_convex():
    dart = QuadriBoxes([[0.0, 0.0, 10.0, 0.0, 2.0, 2.0, 0.0, 10.0]])
    points = torch.tensor([[1.0, 1.0], [5.0, 0.5], [4.0, 4.0], [0.5, 6.0]])
    assert dart.find_inside_points(points)[:, 0].tolist() == [True, True, False, True]

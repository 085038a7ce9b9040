"""Points in boxes."""

import pytest
import torch
from shapely.geometry import Point, Polygon

from stn_det.errors import InputError
from stn_det.geometry import (
    points_in_qboxes,
    points_in_rboxes,
    qboxes_contain,
    rbox_to_qbox,
    rboxes_contain,
    rotation_matrix,
    transform_points,
    transform_rboxes,
)


@pytest.fixture
def points():
    return torch.rand(60, 2, dtype=torch.float64) * 1000


def _shapely(points, quads):
    polygons = [Polygon(quad.reshape(4, 2).tolist()) for quad in quads]
    return torch.tensor([[polygon.covers(Point(*point.tolist())) for polygon in polygons] for point in points])


def test_rboxes_and_qboxes_agree_with_shapely(points, rboxes):
    boxes = rboxes[:60]
    expected = _shapely(points, rbox_to_qbox(boxes))
    assert 30 < expected.sum() < 3000
    assert torch.equal(points_in_rboxes(points, boxes), expected)
    assert torch.equal(points_in_qboxes(points, rbox_to_qbox(boxes)), expected)


def test_quads_that_are_not_convex_agree_with_shapely(points):
    quads = torch.rand(80, 8, dtype=torch.float64) * 1000
    quads = quads[[Polygon(quad.reshape(4, 2).tolist()).is_valid for quad in quads]]
    assert len(quads) > 30
    assert torch.equal(points_in_qboxes(points, quads), _shapely(points, quads))


@pytest.mark.parametrize('contains', ['rbox', 'qbox'])
def test_boundary_counts_as_inside(contains):
    box = torch.tensor([[4.0, 3.0, 8.0, 4.0, 0.0]])
    points = torch.tensor([[0.0, 1], [8, 1], [8, 5], [0, 5], [4, 1], [8, 3], [4, 5], [0, 3], [4, 3]])
    outside = torch.tensor([[-0.01, 3], [8.01, 3], [4, 0.99], [4, 5.01], [-5, 1], [12, 5], [9, 3]])
    if contains == 'rbox':
        check = lambda p: points_in_rboxes(p, box)  # noqa: E731
    else:
        check = lambda p: points_in_qboxes(p, rbox_to_qbox(box))  # noqa: E731
    assert check(points).all()
    assert not check(outside).any()


def test_invariant_under_a_common_motion(points, rboxes):
    motion = rotation_matrix(0.7, center=(300, 500))
    moved = points_in_rboxes(transform_points(points, motion), transform_rboxes(rboxes, motion))
    assert torch.equal(moved, points_in_rboxes(points, rboxes))


def test_zero_area_and_empty():
    segment = torch.tensor([[5.0, 5.0, 4.0, 0.0, 0.0]])
    points = torch.tensor([[5.0, 5.0], [7.0, 5.0], [5.0, 5.1]])
    assert points_in_rboxes(points, segment)[:, 0].tolist() == [True, True, False]
    assert points_in_qboxes(points, rbox_to_qbox(segment))[:, 0].tolist() == [True, True, False]
    assert points_in_rboxes(points, torch.zeros(0, 5)).shape == (3, 0)
    assert points_in_qboxes(torch.zeros(0, 2), torch.zeros(4, 8)).shape == (0, 4)


def test_aligned_form(points, rboxes):
    boxes = rboxes[:60]
    assert torch.equal(rboxes_contain(boxes, points), points_in_rboxes(points, boxes).diagonal())
    quads = rbox_to_qbox(boxes)
    assert torch.equal(qboxes_contain(quads, points), points_in_qboxes(points, quads).diagonal())


def test_nan_is_outside():
    assert not points_in_rboxes(torch.tensor([[float('nan'), 0.0]]), torch.tensor([[0.0, 0, 4, 4, 0]])).any()
    assert not points_in_qboxes(torch.tensor([[float('nan'), 0.0]]), torch.tensor([[0.0, 0, 4, 0, 4, 4, 0, 4]])).any()


def test_errors():
    with pytest.raises(InputError, match=r'points must have shape \(\.\.\., 2\), got \(3, 3\)'):
        points_in_rboxes(torch.zeros(3, 3), torch.zeros(1, 5))
    with pytest.raises(InputError, match=r'qboxes must have shape \(\.\.\., 8\), got \(1, 5\)'):
        points_in_qboxes(torch.zeros(3, 2), torch.zeros(1, 5))

"""Rectangles of least area around quadrilaterals."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stn_det.geometry import qbox_to_rbox, rbox_area, rbox_to_qbox, rboxes_contain, transform_qboxes, translation

COORDINATES = st.one_of(st.integers(-4, 4).map(float), st.floats(-500, 500))


def _opencv_area(quad: np.ndarray) -> float:
    w, h = cv2.minAreaRect(quad.reshape(4, 2).astype(np.float32))[1]
    return w * h


def _least_area_by_search(quad: np.ndarray) -> float:
    """Least area over 5,000 directions: an upper bound of the true one, close to it."""
    angles = np.linspace(0, np.pi / 2, 5_001)
    x, y = quad.reshape(4, 2).T
    u = np.outer(np.cos(angles), x) + np.outer(np.sin(angles), y)
    v = np.outer(np.cos(angles), y) - np.outer(np.sin(angles), x)
    return float((np.ptp(u, axis=1) * np.ptp(v, axis=1)).min())


def _has_one_answer(quad: np.ndarray) -> bool:
    """Whether one side of the hull gives a smaller rectangle than all others (those of an acute triangle all tie)."""
    hull = cv2.convexHull(quad.reshape(4, 2).astype(np.float32)).reshape(-1, 2).astype(np.float64)
    edges = np.roll(hull, -1, axis=0) - hull
    units = edges / np.linalg.norm(edges, axis=1, keepdims=True)
    along, across = hull @ units.T, hull @ np.stack([-units[:, 1], units[:, 0]])
    areas = np.sort(np.ptp(along, axis=0) * np.ptp(across, axis=0))
    return bool(areas[1] > 1.001 * areas[0])


def test_area_is_that_of_opencv():
    quads = torch.rand(300, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 200
    areas = rbox_area(qbox_to_rbox(quads)).numpy()
    expected = np.array([_opencv_area(quad) for quad in quads.numpy()])
    np.testing.assert_allclose(areas, expected, rtol=1e-4)


def test_box_is_that_of_opencv(box_distance):
    quads = torch.rand(300, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 200
    quads = quads[[_has_one_answer(quad) for quad in quads.numpy()]]
    assert len(quads) > 100
    boxes = qbox_to_rbox(quads)
    expected = []
    for quad in quads.numpy():
        (cx, cy), (w, h), degrees = cv2.minAreaRect(quad.reshape(4, 2).astype(np.float32))
        expected.append((cx, cy, w, h, math.radians(degrees)))
    distance = box_distance(boxes, torch.tensor(expected, dtype=torch.float64))
    assert distance.max() < 0.01


@given(st.lists(COORDINATES, min_size=8, max_size=8))
@settings(max_examples=120, deadline=None, derandomize=True)
def test_encloses_all_corners_with_least_area(values):
    quad = torch.tensor([values], dtype=torch.float64)
    box = qbox_to_rbox(quad)
    assert box.isfinite().all()
    grown = box + torch.tensor([0, 0, 1e-6, 1e-6, 0], dtype=torch.float64)
    assert rboxes_contain(grown, quad.reshape(4, 2)).all()
    searched = _least_area_by_search(quad.numpy())
    assert rbox_area(box).item() <= searched + 1e-6
    assert rbox_area(box).item() >= searched - 1e-3 * (quad.max() - quad.min()).item() ** 2


@given(st.lists(COORDINATES, min_size=8, max_size=8), st.permutations(range(4)))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_order_of_corners_does_not_matter(values, order):
    quad = torch.tensor(values, dtype=torch.float64)
    shuffled = quad.reshape(4, 2)[list(order)].reshape(8)
    assert torch.allclose(rbox_area(qbox_to_rbox(quad)), rbox_area(qbox_to_rbox(shuffled)), atol=1e-8)


@pytest.mark.parametrize(
    ('quad', 'expected'),
    [
        ([7, 7, 7, 7, 7, 7, 7, 7], (7, 7, 0, 0, 0)),
        ([0, 0, 3, 4, 3, 4, 0, 0], (1.5, 2, 5, 0, math.atan2(4, 3))),
        ([0, 0, 3, 4, 0, 0, 3, 4], (1.5, 2, 5, 0, math.atan2(4, 3))),
        ([0, 0, 3, -4, 6, -8, 3, -4], (3, -4, 10, 0, math.atan2(-4, 3))),
        ([1, 1, 1, 1, 1, 1, 1, 9], (1, 5, 8, 0, -math.pi / 2)),
        ([0, 0, 4, 0, 4, 2, 4, 2], (2.4, 0.2, 20**0.5, 8 / 20**0.5, math.atan2(2, 4))),  # a triangle: longest side
        ([0, 0, 4, 2, 4, 0, 0, 2], (2, 1, 4, 2, 0)),  # a bow tie
        ([0, 0, 8, 0, 4, 1, 3, 4], (4, 2, 8, 4, 0)),  # not convex
    ],
)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_odd_quads(quad, expected, dtype):
    result = qbox_to_rbox(torch.tensor([quad], dtype=dtype))
    assert torch.allclose(result, torch.tensor([expected], dtype=dtype), atol=1e-5)


def test_gradients_of_odd_quads_are_finite():
    quads = torch.tensor([[7.0] * 8, [0.0, 0, 3, 4, 3, 4, 0, 0], [1.0, 1, 1, 1, 1, 1, 1, 9]], requires_grad=True)
    qbox_to_rbox(quads).sum().backward()
    assert quads.grad.isfinite().all()


def test_gradcheck_of_general_quads():
    quads = torch.rand(6, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 20
    assert torch.autograd.gradcheck(qbox_to_rbox, (quads.requires_grad_(),))


def test_thin_box_far_from_the_origin_keeps_its_angle_in_float32():
    box = torch.tensor([[20_000.0, 30_000.0, 400.0, 1.0, 0.3]])
    result = qbox_to_rbox(rbox_to_qbox(box))
    assert (result - box).abs()[0, 4] < 2e-5  # one unit of float32 at 30,000 px is 0.002 px, over 400 px
    assert (result - box).abs()[0, :4].max() < 0.01


def test_moves_with_the_quad():
    quads = torch.rand(50, 8, dtype=torch.float64) * 20
    moved = qbox_to_rbox(transform_qboxes(quads, translation(100, -50)))
    shift = torch.tensor([100, -50, 0, 0, 0], dtype=torch.float64)
    assert torch.allclose(moved, qbox_to_rbox(quads) + shift, atol=1e-9)


def test_nan_stays_nan():
    quads = torch.zeros(2, 8)
    quads[1, 3] = float('nan')
    result = qbox_to_rbox(quads)
    assert result[0].isfinite().all()
    assert result[1].isnan().any()

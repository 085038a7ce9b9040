"""Rotated boxes against arbitrary simple quads."""

import math

import pytest
import torch

from stn_det.errors import InputError
from stn_det.ops import box_iou_quadri, box_iou_rotated

pytestmark = pytest.mark.usefixtures('implementation')

DART = [0, 0, 4, 0, 1, 1, 0, 4]  # reflex corner at (1, 1); area 4


def row(values, dtype=torch.float64) -> torch.Tensor:
    return torch.tensor([values], dtype=dtype)


def reversed_corners(quads: torch.Tensor) -> torch.Tensor:
    return quads.view(-1, 4, 2).flip(1).reshape(-1, 8)


def test_dart_inside_its_bounding_square() -> None:
    assert box_iou_quadri(row([2, 2, 4, 4, 0]), row(DART)).item() == pytest.approx(4 / 16)


def test_box_in_the_notch_of_a_dart_does_not_overlap() -> None:
    assert box_iou_quadri(row([2.5, 2.5, 2, 2, math.pi / 4]), row(DART)).item() == pytest.approx(0, abs=1e-12)


def test_box_cut_by_the_reflex_corner() -> None:
    # Of the unit square about (1, 1) the dart lacks the quarter beyond its reflex corner and two slim triangles.
    lacking = 0.25 + 2 * (0.5 * 0.5 * (0.5 / 3))
    assert box_iou_quadri(row([1, 1, 1, 1, 0]), row(DART), mode='iof').item() == pytest.approx(1 - lacking)


def test_rotated_boxes_written_as_quads_in_both_orientations(oracle) -> None:
    first, second = oracle.random_rboxes(200), oracle.random_rboxes(200, seed=1)
    quads = torch.tensor([oracle.rbox_corners(box) for box in second.tolist()], dtype=torch.float64).view(-1, 8)
    expected = box_iou_rotated(first, second, aligned=True)
    for candidate in (quads, reversed_corners(quads)):
        torch.testing.assert_close(box_iou_quadri(first, candidate, aligned=True), expected, atol=1e-12, rtol=0)
    matrix = box_iou_quadri(first[:40], quads[:40])
    torch.testing.assert_close(matrix, box_iou_rotated(first[:40], second[:40]), atol=1e-12, rtol=0)


def test_random_darts_match_a_plain_clip(oracle) -> None:
    boxes = oracle.random_rboxes(200, extent=6, size=5)
    quads = row(DART).repeat(200, 1) + 0.5 * torch.rand(200, 8, dtype=torch.float64)
    expected = []
    for box, quad in zip(boxes.tolist(), quads.view(-1, 4, 2).tolist()):
        expected.append(oracle.polygon_iou([tuple(p) for p in quad], oracle.rbox_corners(box)))
    values = box_iou_quadri(boxes, quads, aligned=True)
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), atol=1e-10, rtol=0)


def test_gradcheck(oracle) -> None:
    boxes = oracle.random_rboxes(8, extent=4, size=4).requires_grad_()
    quads = (row(DART).repeat(8, 1) + 0.5 * torch.rand(8, 8, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda b, q: box_iou_quadri(b, q, aligned=True), (boxes, quads))


def test_improper_quads_overlap_nothing() -> None:
    box = row([0, 0, 4, 4, 0])
    bad = torch.tensor([[0] * 8, [math.nan] * 8, [math.inf] + [0] * 7, [0, 0, 1, 1, 2, 2, 3, 3]], dtype=torch.float64)
    bad.requires_grad_()
    values = box_iou_quadri(box, bad)
    values.sum().backward()
    assert values.tolist() == [[0, 0, 0, 0]]
    assert bad.grad.isfinite().all()


def test_empty_and_errors() -> None:
    assert box_iou_quadri(torch.zeros(0, 5), torch.zeros(2, 8)).shape == (0, 2)
    with pytest.raises(InputError, match=r'quads has shape \(2, 5\), expected \(N, 8\)'):
        box_iou_quadri(torch.zeros(2, 5), torch.zeros(2, 5))
    with pytest.raises(InputError, match='boxes has 2 rows and quads has 1'):
        box_iou_quadri(torch.zeros(2, 5), torch.zeros(1, 8), aligned=True)

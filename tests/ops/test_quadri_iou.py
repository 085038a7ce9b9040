"""Convex quads against convex quads."""

import itertools
import math

import pytest
import torch

from stn_det.errors import InputError
from stn_det.ops import box_iou_rotated, quadri_iou

pytestmark = pytest.mark.usefixtures('implementation')

SQUARE = [0, 0, 2, 0, 2, 2, 0, 2]


def row(values, dtype=torch.float64) -> torch.Tensor:
    return torch.tensor([values], dtype=dtype)


def convex_quads(count: int, seed: int) -> torch.Tensor:
    """Four points on an ellipse by rising angle, hence convex."""
    generator = torch.Generator().manual_seed(seed)
    angles = (torch.rand(count, 4, generator=generator, dtype=torch.float64) + torch.arange(4)) * (math.pi / 2)
    centre = 20 * torch.rand(count, 1, 2, generator=generator, dtype=torch.float64)
    axes = 3 + 10 * torch.rand(count, 1, 2, generator=generator, dtype=torch.float64)
    return (centre + axes * torch.stack([angles.cos(), angles.sin()], -1)).reshape(count, 8)


def test_shifted_squares() -> None:
    assert quadri_iou(row(SQUARE), row(SQUARE) + 1).item() == pytest.approx(1 / 7)


def test_triangle_as_a_quad_with_a_repeated_corner() -> None:
    triangle = [0, 0, 2, 0, 2, 2, 2, 2]
    assert quadri_iou(row(triangle), row(SQUARE)).item() == pytest.approx(0.5)
    assert quadri_iou(row(triangle), row(SQUARE), mode='iof').item() == pytest.approx(1)


def test_corner_order_does_not_matter() -> None:
    other = row([1, 0.5, 4, 1, 3, 3, 0.5, 1.5])
    corners = row(SQUARE).view(4, 2)
    values = [
        quadri_iou(corners[list(order)].reshape(1, 8), other).item() for order in itertools.permutations(range(4))
    ]
    assert values[0] > 0
    assert values == pytest.approx([values[0]] * 24, abs=1e-12)


def test_a_dart_counts_as_its_hull() -> None:
    dart, triangle = row([0, 0, 4, 0, 1, 1, 0, 4]), row([0, 0, 4, 0, 0, 4, 0, 4])
    assert quadri_iou(dart, triangle).item() == pytest.approx(1)


def test_random_convex_quads_match_a_plain_clip(oracle) -> None:
    first, second = convex_quads(300, seed=0), convex_quads(300, seed=1)
    expected = []
    for p, q in zip(first.view(-1, 4, 2).tolist(), second.view(-1, 4, 2).tolist()):
        expected.append(oracle.polygon_iou([tuple(c) for c in p], [tuple(c) for c in q]))
    assert sum(value > 0 for value in expected) > 100
    values = quadri_iou(first, second, aligned=True)
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), atol=1e-11, rtol=0)


def test_matrix_agrees_with_aligned() -> None:
    first, second = convex_quads(20, seed=0), convex_quads(15, seed=1)
    aligned = quadri_iou(first.repeat_interleave(15, 0), second.repeat(20, 1), aligned=True)
    torch.testing.assert_close(quadri_iou(first, second).flatten(), aligned, atol=1e-14, rtol=0)


def test_rotated_boxes_written_as_quads(oracle) -> None:
    first, second = oracle.random_rboxes(400), oracle.random_rboxes(400, seed=1)
    second[:100] = first[:100] + 1e-7 * torch.randn(100, 5, dtype=torch.float64)
    second[100:200, 3:] = first[100:200, 3:]
    p, q = (
        torch.tensor([oracle.rbox_corners(box) for box in boxes.tolist()], dtype=torch.float64).view(-1, 8)
        for boxes in (first, second)
    )
    expected = box_iou_rotated(first, second, aligned=True)
    torch.testing.assert_close(quadri_iou(p, q, aligned=True), expected, atol=1e-11, rtol=0)


def test_identical_quads_are_one_in_float32() -> None:
    quads = (convex_quads(2000, seed=0) + 5000).float()
    assert (quadri_iou(quads, quads, aligned=True) - 1).abs().max() <= 1e-6


def test_gradcheck() -> None:
    first, second = convex_quads(12, seed=0).requires_grad_(), convex_quads(12, seed=1).requires_grad_()
    assert (quadri_iou(first, second, aligned=True) > 0).sum() > 4
    assert torch.autograd.gradcheck(lambda a, b: quadri_iou(a, b, aligned=True), (first, second))


@pytest.mark.parametrize(
    'quad', [SQUARE, [2, 0, 4, 0, 4, 2, 2, 2], [2, 2, 4, 2, 4, 4, 2, 4], [0] * 8, [math.nan] * 8, [0, 0, 1, 1] * 2]
)
def test_degenerate_pairs_have_finite_gradients(quad) -> None:
    first, second = row(SQUARE).requires_grad_(), row(quad).requires_grad_()
    value = quadri_iou(first, second, aligned=True)
    value.sum().backward()
    assert 0 <= value.item() <= 1
    assert first.grad.isfinite().all()
    assert second.grad.isfinite().all()


def test_empty_and_errors() -> None:
    assert quadri_iou(torch.zeros(2, 8), torch.zeros(0, 8)).shape == (2, 0)
    with pytest.raises(InputError, match=r'quads1 has shape \(1, 5\), expected \(M, 8\)'):
        quadri_iou(torch.zeros(1, 5), torch.zeros(1, 8))
    with pytest.raises(InputError, match='quads1 has 2 rows and quads2 has 1'):
        quadri_iou(torch.zeros(2, 8), torch.zeros(1, 8), aligned=True)

"""Correlation volumes: their layout, their peaks to parts of a cell, and the entropy that sharpens them."""

import pytest
import torch
from torch import Tensor

from stn_det.models.stn.correlation import find_peak, local_correlation, peak_entropy, unit_features


def shifted(maps: Tensor, dx: int, dy: int) -> Tensor:
    """Maps whose content has moved by whole cells to the right and down."""
    return maps.roll((dy, dx), (2, 3))


def test_unit_features_forget_gain_and_offset() -> None:
    maps = torch.randn(2, 8, 7, 9)
    gain, offset = torch.rand(8, 1, 1) + 0.5, torch.randn(8, 1, 1)
    features = unit_features(maps)
    assert torch.allclose(features.norm(dim=1), torch.ones(2, 7, 9))
    assert torch.allclose(unit_features(gain * maps + offset), features, atol=1e-4)


@pytest.mark.parametrize('shape', [(1, 4, 1, 1), (2, 4, 5, 6)])
def test_unit_features_of_constant_maps_are_zero_with_a_finite_gradient(shape: tuple[int, ...]) -> None:
    maps = torch.ones(shape, requires_grad=True)
    features = unit_features(maps)
    features.sum().backward()
    assert features.eq(0).all()
    assert torch.isfinite(maps.grad).all()


def test_volume_holds_every_product_of_the_window() -> None:
    first, second = torch.randn(2, 3, 5, 6), torch.randn(2, 3, 5, 6)
    volume = local_correlation(first, second, radius=2).view(2, 5, 5, 5, 6)
    for dy, dx in ((0, 0), (-2, 1), (2, -1)):
        for y, x in ((2, 3), (0, 0), (4, 5)):
            inside = 0 <= y + dy < 5 and 0 <= x + dx < 6
            expected = (first[:, :, y, x] * second[:, :, y + dy, x + dx]).sum(1) if inside else torch.zeros(2)
            assert torch.allclose(volume[:, dy + 2, dx + 2, y, x], expected, atol=1e-6)


def test_gradcheck() -> None:
    maps = [torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda a, b: local_correlation(a, b, 1), maps)


@pytest.mark.parametrize(('dx', 'dy'), [(0, 0), (3, -2), (-1, 2)])
def test_peak_is_at_the_shift(dx: int, dy: int) -> None:
    first = unit_features(torch.randn(1, 32, 16, 20))
    moves, confidence = find_peak(30 * local_correlation(first, shifted(first, dx, dy), radius=3))
    inner = (..., slice(3, -3), slice(3, -3))
    assert torch.equal(moves[inner].round(), torch.tensor([dx, dy]).view(1, 2, 1, 1).expand_as(moves[inner]).float())
    assert confidence[inner].min() > 0.9


@pytest.mark.parametrize('place', [(0.3, -1.2), (-2.45, 0.0), (1.5, 1.9)])
def test_the_peak_of_a_paraboloid_is_exact(place: tuple[float, float]) -> None:
    steps = torch.arange(-3.0, 4.0)
    logits = -2 * (steps[:, None] - place[1]).square() - 3 * (steps - place[0]).square()
    moves, _ = find_peak(logits.view(1, 49, 1, 1))
    assert moves.flatten().tolist() == pytest.approx(place, abs=1e-5)


def test_a_peak_at_the_edge_of_the_window_stays_there() -> None:
    logits = torch.zeros(1, 5, 5, 1, 1)
    logits[0, 0, 4] = 5.0
    assert find_peak(logits.flatten(1, 2))[0].flatten().tolist() == [2.0, -2.0]


def test_gradients_of_a_flat_volume_are_finite() -> None:
    logits = torch.zeros(1, 25, 3, 3, requires_grad=True)
    moves, confidence = find_peak(logits)
    (moves.sum() + confidence.sum()).backward()
    assert torch.isfinite(logits.grad).all()


def test_peak_lies_between_cells_and_a_second_one_does_not_draw_it() -> None:
    logits = torch.full((1, 49, 1, 1), -20.0).view(1, 7, 7, 1, 1)
    logits[0, 4, 2:4] = 0.0  # dy 1, dx -1 and 0, equally
    logits[0, 0, 6] = -0.5  # far away and lower
    moves, confidence = find_peak(logits.flatten(1, 2))
    assert moves.flatten().tolist() == pytest.approx([-0.5, 1.0], abs=1e-4)
    share = 2 / (2 + torch.tensor(-0.5).exp().item())
    assert confidence.item() == pytest.approx((share - 9 / 49) / (1 - 9 / 49), abs=1e-3)


def test_a_flat_volume_has_no_confidence() -> None:
    assert find_peak(torch.zeros(2, 81, 3, 4))[1].abs().max() < 1e-6


def test_entropy_is_least_where_the_volume_agrees() -> None:
    wanted = torch.tensor([0.25, -1.0]).view(1, 2, 1, 1)
    shares = torch.full((1, 5, 5, 1, 1), 1e-9)
    shares[0, 1, 2], shares[0, 1, 3] = 0.75, 0.25
    best = peak_entropy(shares.flatten(1, 2).log(), wanted)
    expected = -(0.75 * torch.tensor(0.75).log() + 0.25 * torch.tensor(0.25).log())
    assert best.item() == pytest.approx(expected.item(), abs=1e-4)
    assert (peak_entropy(torch.randn(8, 25, 1, 1), wanted) > best).all()

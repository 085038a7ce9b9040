"""The least-squares fit of a warp to displacements."""

import pytest
import torch

from stn_det.geometry import transform_points
from stn_det.geometry.warp import FAMILIES, num_parameters, warp_matrix
from stn_det.geometry.warp.base import pixel_centers
from stn_det.models.stn.fit import fit_displacements

SIZE = (96, 136)


def cells() -> torch.Tensor:
    """Centres of cells of 8 pixels."""
    return pixel_centers((12, 17), 1, torch.device('cpu'))[0] * 8


@pytest.mark.parametrize('family', FAMILIES)
def test_small_warps_are_recovered(family: str) -> None:
    parameters = 0.002 * torch.randn(3, num_parameters(family), dtype=torch.float64)
    moves = transform_points(cells(), warp_matrix(parameters, family, SIZE)[:, None]) - cells()
    found = fit_displacements(cells(), moves, torch.ones(3, 204, dtype=torch.float64), family, SIZE, 4.0)
    assert (found - parameters).abs().max() < 0.03 * 0.002


def test_steps_add_up_to_a_large_warp() -> None:
    """First-order steps, measured again each time, end at the exact warp."""
    truth = warp_matrix(torch.tensor([[0.25, 0.15, 0.2, -0.3]], dtype=torch.float64), 'similarity', SIZE)
    parameters = torch.zeros(1, 4, dtype=torch.float64)
    weights = torch.ones(1, 204, dtype=torch.float64)
    places = transform_points(cells(), truth[:, None])
    for _ in range(8):
        back = torch.linalg.inv(warp_matrix(parameters, 'similarity', SIZE))
        moves = transform_points(places, back[:, None]) - cells()
        parameters = parameters + fit_displacements(cells(), moves, weights, 'similarity', SIZE, 4.0)
    assert (warp_matrix(parameters, 'similarity', SIZE) - truth).abs().max() < 1e-3


def test_places_without_weight_do_not_count() -> None:
    moves = torch.tensor([4.0, -2.0]).repeat(1, 204, 1)
    moves[:, ::3] = 50.0
    weights = torch.ones(1, 204)
    weights[:, ::3] = 0
    found = fit_displacements(cells().float(), moves, weights, 'translation', SIZE, 4.0)
    unit = (96 * 136) ** 0.5 / 2
    assert (found * unit)[0].tolist() == pytest.approx([4, -2], rel=0.01)


def test_displacements_that_do_not_belong_count_little() -> None:
    moves = torch.tensor([4.0, -2.0]).repeat(1, 204, 1)
    moves[:, ::5] = torch.tensor([-25.0, 25.0])
    unit = (96 * 136) ** 0.5 / 2
    found = fit_displacements(cells().float(), moves, torch.ones(1, 204), 'translation', SIZE, 8.0)
    mean = moves.mean(1)[0] - torch.tensor([4.0, -2.0])
    assert (found * unit - torch.tensor([4.0, -2.0])).norm() < 0.3 * mean.norm()


@pytest.mark.parametrize('family', FAMILIES)
def test_no_weight_at_all_moves_nothing(family: str) -> None:
    weights = torch.zeros(2, 204, requires_grad=True)
    found = fit_displacements(cells().float(), 9 * torch.randn(2, 204, 2), weights, family, SIZE, 4.0)
    found.sum().backward()
    assert found.eq(0).all()
    assert torch.isfinite(weights.grad).all()

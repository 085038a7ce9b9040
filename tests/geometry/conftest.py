"""Helpers of the geometry tests."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stn_det.geometry import rbox_to_qbox


def _quad_distance(first: Tensor, second: Tensor) -> Tensor:
    """Largest distance of corners of two quads (..., 8), over the best of their eight orders: 0 for the same quad."""
    a, b = first.unflatten(-1, (4, 2)), second.unflatten(-1, (4, 2))
    orders = [b.roll(shift, dims=-2) for shift in range(4)] + [b.flip(-2).roll(shift, dims=-2) for shift in range(4)]
    return torch.stack([(a - order).norm(dim=-1).amax(-1) for order in orders]).amin(0)


@pytest.fixture(scope='session')
def quad_distance() -> Callable[[Tensor, Tensor], Tensor]:
    """Distance between two quads as shapes, whatever the order of their corners."""
    return _quad_distance


@pytest.fixture(scope='session')
def box_distance() -> Callable[[Tensor, Tensor], Tensor]:
    """Distance between two rboxes as shapes, whatever their forms."""
    return lambda first, second: _quad_distance(rbox_to_qbox(first), rbox_to_qbox(second))


@pytest.fixture
def rboxes() -> Tensor:
    """400 float64 boxes of all angles, proportions and sizes, some of them partly outside of a 1000 x 1000 image."""
    generator = torch.Generator().manual_seed(7)
    unit = torch.rand(400, 5, generator=generator, dtype=torch.float64)
    low = torch.tensor([-50, -50, 2, 2, -10], dtype=torch.float64)
    high = torch.tensor([1050, 1050, 300, 300, 10], dtype=torch.float64)
    return low + unit * (high - low)

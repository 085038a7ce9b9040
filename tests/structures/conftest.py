"""Prepares mmdet for an mmcv without compiled operators, and shares helpers of the box tests."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import stn_det.mmcv_bridge  # noqa: F401  # before mmdet, which imports mmcv.ops
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


@pytest.fixture
def rboxes() -> Tensor:
    """60 float32 boxes in a 200 x 300 image, of all angles."""
    unit = torch.rand(60, 5, generator=torch.Generator().manual_seed(5))
    return torch.tensor([20, 20, 4, 4, -4.0]) + unit * torch.tensor([260, 160, 60, 60, 8.0])


@pytest.fixture
def qboxes(rboxes: Tensor) -> Tensor:
    """60 quadrilaterals near rectangles."""
    noise = torch.rand(60, 8, generator=torch.Generator().manual_seed(6))
    return rbox_to_qbox(rboxes) + noise

"""Distance of angles along the circle: what is left of a difference after whole periods."""

import math
from functools import partial

import torch
from mmdet.registry import MODELS
from torch import Tensor

from ...errors import ConfigError
from .weighted import WeightedLoss


def periodic_difference(pred: Tensor, target: Tensor, period: float = math.pi) -> Tensor:
    """``pred - target`` less whole periods, in [-period / 2, period / 2]; radians, shapes that broadcast."""
    difference = pred - target
    return difference - (difference.detach() / period).round() * period


def periodic_l1(pred: Tensor, target: Tensor, period: float = math.pi, beta: float = 0.0) -> Tensor:
    """Size of :func:`periodic_difference` element by element, squared over ``2 beta`` below ``beta`` radians."""
    size = periodic_difference(pred, target, period).abs()
    return torch.where(size < beta, size**2 / (2 * beta), size - beta / 2) if beta > 0 else size


@MODELS.register_module()
class PeriodicL1Loss(WeightedLoss):
    """L1 distance of angles that does not see the seam, element by element.

    Args:
        period: after which an angle means the same, radians: pi for a box, 2 pi for a heading, pi / 2 for squares.
        beta: below this error, radians, the loss is quadratic as in a smooth L1; 0 for plain L1.
        reduction: 'none', 'mean' or 'sum'.
        loss_weight: factor of the result.

    Raises:
        ConfigError: when the period is not above 0, beta is below 0 or the reduction is unknown.
    """

    def __init__(
        self, period: float = math.pi, beta: float = 0.0, reduction: str = 'mean', loss_weight: float = 1.0
    ) -> None:
        if not period > 0:
            raise ConfigError(f'period is {period}; expected radians above 0, pi for a box')
        if not beta >= 0:
            raise ConfigError(f'beta is {beta}; expected radians, 0 or more')
        super().__init__(partial(periodic_l1, period=period, beta=beta), reduction, loss_weight)

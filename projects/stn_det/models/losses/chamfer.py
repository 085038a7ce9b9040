"""Chamfer distance between the corners of oriented boxes: how far the corners of one are from those of the other.

Like the Hausdorff distance it does not see how an angle is written; unlike it, all eight corners count, not the
farthest one alone. As a cost of matching it was proposed in "Real-Time Oriented Object Detection Transformer in Remote
Sensing Images" https://arxiv.org/abs/2603.15497.

Letters: M predictions, N targets.
"""

from functools import partial

import torch
from mmdet.registry import MODELS
from torch import Tensor

from ...checks import check_float_shape, check_length
from .hausdorff import corners_in_frame
from .pairs import over_pairs
from .weighted import WeightedLoss


def rotated_chamfer(boxes1: Tensor, boxes2: Tensor, aligned: bool = False) -> Tensor:
    """Chamfer distance of the corners of boxes, pixels: the sum over both boxes of the mean to the nearest corner.

    Args:
        boxes1: ``(M, 5)`` boxes (cx, cy, w, h, theta), pixels and radians.
        boxes2: ``(N, 5)`` boxes in the same frame; N = M if ``aligned``.
        aligned: compare row k with row k instead of all with all.

    Returns:
        ``(M, N)``, or ``(M,)`` if ``aligned``; differentiable, 0 for equal boxes, with gradient 0 there. A box moved by
        a little is twice the shift away.

    Raises:
        InputError: for a wrong shape or dtype.
    """
    check_float_shape('boxes1', boxes1, ('M', 5))
    check_float_shape('boxes2', boxes2, ('N', 5))
    if not aligned:
        return over_pairs(_distance, boxes1, boxes2)
    check_length('boxes2', boxes2, boxes1.shape[0], 'boxes1')
    return _distance(boxes1, boxes2)


def _distance(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    return _to_corners(boxes1, boxes2) + _to_corners(boxes2, boxes1)


def _to_corners(boxes: Tensor, others: Tensor) -> Tensor:
    """Mean distance ``(...,)`` of the corners of boxes ``(..., 5)`` from the nearest corners of the others."""
    x, y = corners_in_frame(boxes, others)
    # by symmetry, the corner in the quadrant of a point is the nearest of a rectangle's four
    squared = (x.abs() - others[..., 2:3] / 2) ** 2 + (y.abs() - others[..., 3:4] / 2) ** 2
    apart = squared != 0  # NaN too
    return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0).mean(-1)


def chamfer_loss(pred: Tensor, target: Tensor, normalize: bool = True) -> Tensor:
    """Chamfer distance of boxes ``(M, 5)``, ``(M,)``: in diagonals of the target, or in pixels."""
    distance = rotated_chamfer(pred, target, aligned=True)
    return distance / target[:, 2:4].norm(dim=1).clamp(min=1e-2) if normalize else distance


@MODELS.register_module()
class ChamferLoss(WeightedLoss):
    """Chamfer distance of the corners of boxes ``(M, 5)`` as a loss, not bounded above.

    Args:
        normalize: divide by the diagonal of the target, so that the loss does not depend on the scale.
        reduction: 'none', 'mean' or 'sum'.
        loss_weight: factor of the result.

    Raises:
        ConfigError: when the reduction is unknown.
    """

    def __init__(self, normalize: bool = True, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__(partial(chamfer_loss, normalize=normalize), reduction, loss_weight)

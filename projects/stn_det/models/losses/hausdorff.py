"""Hausdorff distance between oriented boxes: how far a point of one box can be from the other.

Two angles that write one rectangle give one distance, so squares and the seam are ordinary; boxes far apart have a
gradient. As a cost of matching it was proposed in "RHINO: Rotated DETR with Dynamic Denoising via Hungarian Matching
for Oriented Object Detection" https://arxiv.org/abs/2305.07598. Here the distance of the boundaries is exact, not
sampled: for convex shapes it equals that of the filled shapes, and the farthest point of a polygon from a convex shape
is a corner.

Letters: M predictions, N targets.
"""

from collections.abc import Callable
from functools import partial

import torch
from mmdet.registry import MODELS
from torch import Tensor

from ...checks import check_choice, check_float_shape, check_length
from ...errors import ConfigError
from .pairs import over_pairs
from .weighted import WeightedLoss

MODES = ('boundary', 'corners')


def rotated_hausdorff(boxes1: Tensor, boxes2: Tensor, aligned: bool = False, mode: str = 'boundary') -> Tensor:
    """Hausdorff distance of boxes, pixels.

    Args:
        boxes1: ``(M, 5)`` boxes (cx, cy, w, h, theta), pixels and radians.
        boxes2: ``(N, 5)`` boxes in the same frame; N = M if ``aligned``.
        aligned: compare row k with row k instead of all with all.
        mode: 'boundary' for the exact distance of the outlines, 'corners' for that of the two sets of four corners.

    Returns:
        ``(M, N)``, or ``(M,)`` if ``aligned``; differentiable, 0 for equal boxes, with gradient 0 there.

    Raises:
        InputError: for a wrong shape, dtype or mode.
    """
    check_float_shape('boxes1', boxes1, ('M', 5))
    check_float_shape('boxes2', boxes2, ('N', 5))
    check_choice('mode', mode, MODES)
    squared = _squared_to_shape if mode == 'boundary' else _squared_to_corners
    if aligned:
        check_length('boxes2', boxes2, boxes1.shape[0], 'boxes1')
        return _distance(boxes1, boxes2, squared)
    return over_pairs(partial(_distance, squared=squared), boxes1, boxes2)


def _distance(boxes1: Tensor, boxes2: Tensor, squared: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    farthest = torch.maximum(squared(boxes1, boxes2), squared(boxes2, boxes1))
    apart = farthest != 0  # NaN too, which must not pass for a distance of 0
    return torch.where(apart, torch.where(apart, farthest, 1.0).sqrt(), 0.0)


def _squared_to_shape(boxes: Tensor, others: Tensor) -> Tensor:
    """Largest squared distance ``(...,)`` of a corner of boxes ``(..., 5)`` from the filled others ``(..., 5)``."""
    x, y = corners_in_frame(boxes, others)
    beyond_x = (x.abs() - others[..., 2:3] / 2).clamp(min=0)
    beyond_y = (y.abs() - others[..., 3:4] / 2).clamp(min=0)
    return (beyond_x**2 + beyond_y**2).amax(-1)


def _squared_to_corners(boxes: Tensor, others: Tensor) -> Tensor:
    """Largest squared distance ``(...,)`` of a corner of boxes ``(..., 5)`` from the nearest corner of the others."""
    x, y = corners_in_frame(boxes, others)
    # by symmetry, the corner in the quadrant of a point is the nearest of a rectangle's four
    return ((x.abs() - others[..., 2:3] / 2) ** 2 + (y.abs() - others[..., 3:4] / 2) ** 2).amax(-1)


def corners_in_frame(boxes: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """x and y ``(..., 4)`` of the corners of boxes ``(..., 5)`` seen from the centre and axes of others."""
    shift = boxes[..., :2] - frame[..., :2]
    cos, sin = frame[..., 4].cos(), frame[..., 4].sin()
    centre_x, centre_y = shift[..., 0] * cos + shift[..., 1] * sin, shift[..., 1] * cos - shift[..., 0] * sin
    turn = boxes[..., 4] - frame[..., 4]
    # stacked, not multiplied by a tensor of signs: to bring that to a GPU would wait for it
    half_w, half_h = boxes[..., 2] / 2, boxes[..., 3] / 2
    along = torch.stack([-half_w, half_w, half_w, -half_w], -1)
    across = torch.stack([-half_h, -half_h, half_h, half_h], -1)
    cos, sin = turn.cos().unsqueeze(-1), turn.sin().unsqueeze(-1)
    x = centre_x.unsqueeze(-1) + along * cos - across * sin
    return x, centre_y.unsqueeze(-1) + along * sin + across * cos


def hausdorff_loss(pred: Tensor, target: Tensor, mode: str = 'boundary', normalize: bool = True) -> Tensor:
    """Hausdorff distance of boxes ``(M, 5)``, ``(M,)``: in diagonals of the target, or in pixels."""
    distance = rotated_hausdorff(pred, target, aligned=True, mode=mode)
    return distance / target[:, 2:4].norm(dim=1).clamp(min=1e-2) if normalize else distance


@MODELS.register_module()
class HausdorffLoss(WeightedLoss):
    """Hausdorff distance of boxes ``(M, 5)`` as a loss, not bounded above.

    Args:
        mode: 'boundary' or 'corners', see :func:`rotated_hausdorff`.
        normalize: divide by the diagonal of the target, so that the loss does not depend on the scale.
        reduction: 'none', 'mean' or 'sum'.
        loss_weight: factor of the result.

    Raises:
        ConfigError: when the mode or the reduction is unknown.
    """

    def __init__(
        self, mode: str = 'boundary', normalize: bool = True, reduction: str = 'mean', loss_weight: float = 1.0
    ) -> None:
        if mode not in MODES:
            raise ConfigError(f'mode is {mode!r}; expected one of {MODES}')
        super().__init__(partial(hausdorff_loss, mode=mode, normalize=normalize), reduction, loss_weight)

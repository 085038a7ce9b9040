"""Registered regression losses on pairs of oriented boxes."""

from collections.abc import Callable

import torch
from mmdet.models.losses.utils import weight_reduce_loss
from mmdet.registry import MODELS
from torch import Tensor, nn

from ...errors import ConfigError
from ...ops import box_iou_rotated, rotated_iou_giou
from .gaussian import gwd_distance, kld_distance, probiou_distance


def kld_loss(pred: Tensor, target: Tensor, tau: float = 1.0) -> Tensor:
    """Bounded KLD: ``1 - 1 / (tau + log(1 + KLD))``, ``(..., 5)`` boxes to ``(...,)`` in [0, 1)."""
    return 1 - 1 / (tau + torch.log1p(kld_distance(pred, target)))


def gwd_loss(pred: Tensor, target: Tensor, tau: float = 1.0) -> Tensor:
    """Bounded GWD: ``1 - 1 / (tau + log(1 + GWD))``, ``(..., 5)`` boxes to ``(...,)`` in [0, 1)."""
    return 1 - 1 / (tau + torch.log1p(gwd_distance(pred, target)))


def probiou_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Hellinger distance of the boxes, ``(..., 5)`` boxes to ``(...,)`` in [0, 1]."""
    return probiou_distance(pred, target)


def rotated_iou_loss(pred: Tensor, target: Tensor) -> Tensor:
    """``1 - IoU`` of the exact intersection, ``(M, 5)`` boxes to ``(M,)``; no gradient for boxes that do not touch."""
    return 1 - box_iou_rotated(pred, target, aligned=True)


def rotated_giou_loss(pred: Tensor, target: Tensor) -> Tensor:
    """``1 - GIoU``, ``(M, 5)`` boxes to ``(M,)`` in [0, 2]; pulls boxes that do not touch together."""
    return 1 - rotated_iou_giou(pred, target)[1]


class _OrientedBoxLoss(nn.Module):
    """Weights and reduces one of the functions above, always in float32 whatever autocast says."""

    def __init__(self, function: Callable[..., Tensor], reduction: str, loss_weight: float) -> None:
        super().__init__()
        if reduction not in ('none', 'mean', 'sum'):
            raise ConfigError(f"reduction is {reduction!r}; expected one of 'none', 'mean', 'sum'")
        self.function = function
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Loss of predicted against target boxes.

        Args:
            pred: ``(M, 5)`` boxes (cx, cy, w, h, theta) in pixels and radians.
            target: ``(M, 5)`` boxes in the same frame.
            weight: ``(M,)`` weight of each pair.
            avg_factor: divisor of the sum for reduction 'mean'.
            reduction_override: replaces the module's reduction for this call.

        Returns:
            A scalar, or ``(M,)`` for reduction 'none'.
        """
        reduction = reduction_override or self.reduction
        if pred.numel() == 0:
            return pred.sum() * 0
        with torch.autocast(pred.device.type, enabled=False):
            loss = self.function(pred.float(), target.float())
        return self.loss_weight * weight_reduce_loss(loss, weight, reduction, avg_factor)


_GAUSSIAN = {'kld': kld_loss, 'gwd': gwd_loss, 'probiou': probiou_loss}


@MODELS.register_module()
class GaussianBoxLoss(_OrientedBoxLoss):
    """Loss on the Gaussians of oriented boxes: KLD, GWD or ProbIoU.

    Args:
        distance: 'kld' (https://arxiv.org/abs/2106.01883), 'gwd' (https://arxiv.org/abs/2101.11952) or 'probiou'
            (https://arxiv.org/abs/2106.06072).
        reduction: 'none', 'mean' or 'sum'.
        loss_weight: factor of the result.

    Raises:
        ConfigError: when the distance or the reduction is none of these.
    """

    def __init__(self, distance: str = 'kld', reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        if distance not in _GAUSSIAN:
            raise ConfigError(f'distance is {distance!r}; expected one of {sorted(_GAUSSIAN)}')
        super().__init__(_GAUSSIAN[distance], reduction, loss_weight)


@MODELS.register_module()
class OrientedIoULoss(_OrientedBoxLoss):
    """Exact rotated IoU or GIoU loss, differentiable through the clip of one box by the other.

    Args:
        mode: 'iou' or 'giou' (https://arxiv.org/abs/1902.09630).
        reduction: 'none', 'mean' or 'sum'.
        loss_weight: factor of the result.

    Raises:
        ConfigError: when the mode or the reduction is none of these.
    """

    def __init__(self, mode: str = 'iou', reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        functions = {'iou': rotated_iou_loss, 'giou': rotated_giou_loss}
        if mode not in functions:
            raise ConfigError(f'mode is {mode!r}; expected one of {sorted(functions)}')
        super().__init__(functions[mode], reduction, loss_weight)

"""Registered regression losses on pairs of oriented boxes."""

import torch
from mmdet.registry import MODELS
from torch import Tensor

from ...errors import ConfigError
from ...ops import box_iou_rotated, rotated_iou_giou
from .gaussian import bcd_distance, gwd_distance, jd_distance, kld_distance, probiou_distance
from .weighted import WeightedLoss


def kld_loss(pred: Tensor, target: Tensor, tau: float = 1.0) -> Tensor:
    """Bounded KLD: ``1 - 1 / (tau + log(1 + KLD))``, ``(..., 5)`` boxes to ``(...,)`` in [0, 1)."""
    return 1 - 1 / (tau + torch.log1p(kld_distance(pred, target)))


def gwd_loss(pred: Tensor, target: Tensor, tau: float = 1.0) -> Tensor:
    """Bounded GWD: ``1 - 1 / (tau + log(1 + GWD))``, ``(..., 5)`` boxes to ``(...,)`` in [0, 1)."""
    return 1 - 1 / (tau + torch.log1p(gwd_distance(pred, target)))


def jd_loss(pred: Tensor, target: Tensor, tau: float = 1.0) -> Tensor:
    """Bounded Jeffreys divergence: ``1 - 1 / (tau + log(1 + JD))``, ``(..., 5)`` boxes to ``(...,)`` in [0, 1)."""
    return 1 - 1 / (tau + torch.log1p(jd_distance(pred, target)))


def bcd_loss(pred: Tensor, target: Tensor, tau: float = 1.0) -> Tensor:
    """Bounded Bhattacharyya distance: ``1 - 1 / (tau + log(1 + BCD))``, ``(..., 5)`` to ``(...,)`` in [0, 1)."""
    return 1 - 1 / (tau + torch.log1p(bcd_distance(pred, target)))


def probiou_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Hellinger distance of the boxes, ``(..., 5)`` boxes to ``(...,)`` in [0, 1]."""
    return probiou_distance(pred, target)


def rotated_iou_loss(pred: Tensor, target: Tensor) -> Tensor:
    """``1 - IoU`` of the exact intersection, ``(M, 5)`` boxes to ``(M,)``; no gradient for boxes that do not touch."""
    return 1 - box_iou_rotated(pred, target, aligned=True)


def rotated_giou_loss(pred: Tensor, target: Tensor) -> Tensor:
    """``1 - GIoU``, ``(M, 5)`` boxes to ``(M,)`` in [0, 2]; pulls boxes that do not touch together."""
    return 1 - rotated_iou_giou(pred, target)[1]


GAUSSIAN_LOSSES = {'kld': kld_loss, 'jd': jd_loss, 'gwd': gwd_loss, 'bcd': bcd_loss, 'probiou': probiou_loss}


@MODELS.register_module()
class GaussianBoxLoss(WeightedLoss):
    """Loss on the Gaussians of oriented boxes: KLD, Jeffreys, GWD, Bhattacharyya or ProbIoU.

    Args:
        distance: 'kld' or its symmetric form 'jd' (https://arxiv.org/abs/2106.01883), 'gwd'
            (https://arxiv.org/abs/2101.11952), 'bcd' or 'probiou' (https://arxiv.org/abs/2106.06072).
        reduction: 'none', 'mean' or 'sum'.
        loss_weight: factor of the result.

    Raises:
        ConfigError: when the distance or the reduction is none of these.
    """

    def __init__(self, distance: str = 'kld', reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        if distance not in GAUSSIAN_LOSSES:
            raise ConfigError(f'distance is {distance!r}; expected one of {sorted(GAUSSIAN_LOSSES)}')
        super().__init__(GAUSSIAN_LOSSES[distance], reduction, loss_weight)


@MODELS.register_module()
class OrientedIoULoss(WeightedLoss):
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

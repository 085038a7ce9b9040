"""KFIoU: the overlap of two Gaussians that their product stands for, as a loss.

Proposed in "The KFIoU Loss for Rotated Object Detection" https://arxiv.org/abs/2201.12558. The product of two Gaussians
with one centre, as a Kalman filter forms it, has the covariance ``P (P + T)^-1 T``. With ``V = 4 sqrt(det)`` for the
area of a box, KFIoU is ``V_product / (V_pred + V_target - V_product)``. It is blind to the centres, which a term of
their own draws together. Here everything is written with sides and the angle between the boxes, so no matrix is
inverted.
"""

from functools import partial

import torch
from mmdet.registry import MODELS
from torch import Tensor

from ...errors import ConfigError
from .gaussian import det_of_sum, relative
from .weighted import WeightedLoss

FUNCTIONS = ('none', 'ln', 'exp')


def kfiou(pred: Tensor, target: Tensor) -> Tensor:
    """KFIoU of boxes ``(..., 5)`` (pixels, radians) as if they had one centre: ``(...,)`` in (0, 1/3]."""
    return 1 / _inverse_kfiou(pred, target)


def _inverse_kfiou(pred: Tensor, target: Tensor) -> Tensor:
    """``(1 / V_pred + 1 / V_target) sqrt(det(P + T)) - 1`` with sides for standard deviations, at least 3."""
    _, _, w, h, w_t, h_t, cos, sin = relative(pred, target)
    return (1 / (w * h) + 1 / (w_t * h_t)) * det_of_sum(w, h, w_t, h_t, cos, sin).sqrt() - 1


def centre_term(pred: Tensor, target: Tensor) -> Tensor:
    """``log(1 + d^T T^-1 d)`` of the offset d between the centres of boxes ``(..., 5)``, T the target's covariance."""
    along, across, _, _, w_t, h_t, _, _ = relative(pred, target)
    return torch.log1p(4 * ((along / w_t) ** 2 + (across / h_t) ** 2))


def kf_loss(pred: Tensor, target: Tensor, fun: str = 'none') -> Tensor:
    """Centre term plus a function of KFIoU, ``(..., 5)`` boxes to ``(...,)``.

    Equal boxes have KFIoU 1/3, so the least value is 2/3 for 'none', log 3 for 'ln' and exp(2/3) - 1 for 'exp'.

    Args:
        pred: ``(..., 5)`` boxes (cx, cy, w, h, theta), pixels and radians.
        target: ``(..., 5)`` boxes in the same frame.
        fun: 'none' for 1 - KFIoU, 'ln' for -log(KFIoU), 'exp' for exp(1 - KFIoU) - 1.

    Raises:
        ConfigError: when the function is none of these.
    """
    if fun not in FUNCTIONS:
        raise ConfigError(f'fun is {fun!r}; expected one of {FUNCTIONS}')
    inverse = _inverse_kfiou(pred, target)
    if fun == 'ln':
        shape = inverse.log()
    else:
        shape = 1 - 1 / inverse
        shape = torch.expm1(shape) if fun == 'exp' else shape
    return centre_term(pred, target) + shape


@MODELS.register_module()
class KFLoss(WeightedLoss):
    """KFIoU loss on boxes ``(M, 5)``; see :func:`kf_loss`.

    Args:
        fun: 'none', 'ln' or 'exp', the function of KFIoU.
        reduction: 'none', 'mean' or 'sum'.
        loss_weight: factor of the result.

    Raises:
        ConfigError: when the function or the reduction is none of these.
    """

    def __init__(self, fun: str = 'none', reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        if fun not in FUNCTIONS:
            raise ConfigError(f'fun is {fun!r}; expected one of {FUNCTIONS}')
        super().__init__(partial(kf_loss, fun=fun), reduction, loss_weight)

"""Focal loss of sigmoid classifiers against labels between 0 and 1."""

from functools import partial

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor

from ...errors import ConfigError
from .weighted import WeightedLoss


def smooth_focal_loss(pred: Tensor, target: Tensor, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Focal loss of logits against smooth labels, summed over the classes.

    A label y counts as class 1 with share y and as class 0 with share 1 - y. The probability p misses it by
    ``y (1 - p) + (1 - y) p``, whose power ``gamma`` scales the cross-entropy, and ``alpha y + (1 - alpha) (1 - y)``
    balances the classes. For labels of 0 and 1 this is the loss of "Focal Loss for Dense Object Detection"
    https://arxiv.org/abs/1708.02002

    Args:
        pred: ``(..., C)`` logits.
        target: ``(..., C)`` labels in [0, 1].
        gamma: focusing exponent; 0 leaves the binary cross-entropy, balanced.
        alpha: share of class 1 in the balance; below 0 there is none.

    Returns:
        ``(...,)`` sums over the classes.
    """
    probability = pred.sigmoid()
    miss = target * (1 - probability) + (1 - target) * probability
    balance = alpha * target + (1 - alpha) * (1 - target) if alpha >= 0 else 1.0
    entropy = F.binary_cross_entropy_with_logits(pred, target, reduction='none')
    return (balance * miss**gamma * entropy).sum(-1)


@MODELS.register_module()
class SmoothFocalLoss(WeightedLoss):
    """Loss for circular smooth labels: logits ``(M, C)`` and labels ``(M, C)`` in [0, 1], a term a row.

    Args:
        gamma: focusing exponent, 0 or more; 0 with a negative alpha is the binary cross-entropy.
        alpha: share of class 1 in the balance; below 0 there is none.
        reduction: 'none', 'mean' or 'sum' over the rows; the classes of a row are summed.
        loss_weight: factor of the result.

    Raises:
        ConfigError: when gamma is below 0, alpha above 1 or the reduction is unknown.
    """

    def __init__(
        self, gamma: float = 2.0, alpha: float = 0.25, reduction: str = 'mean', loss_weight: float = 1.0
    ) -> None:
        if not gamma >= 0:
            raise ConfigError(f'gamma is {gamma}; expected 0 or more')
        if not alpha <= 1:
            raise ConfigError(f'alpha is {alpha}; expected a share up to 1, or a negative number for no balance')
        super().__init__(partial(smooth_focal_loss, gamma=gamma, alpha=alpha), reduction, loss_weight)

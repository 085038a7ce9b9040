"""What every loss of this room does with its terms: weights, reduction, precision."""

from collections.abc import Callable

import torch
from mmdet.models.losses.utils import weight_reduce_loss
from torch import Tensor, nn

from ...errors import ConfigError


class WeightedLoss(nn.Module):
    """Weights and reduces a function of pairs, always in float32 whatever autocast says.

    Args:
        function: gives the terms of predictions and targets, one a pair or one an element.
        reduction: 'none', 'mean' or 'sum'.
        loss_weight: factor of the result.

    Raises:
        ConfigError: when the reduction is none of these.
    """

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
        """Loss of predictions against targets.

        Args:
            pred: ``(M, ...)`` predictions, for a loss on boxes ``(M, 5)`` (cx, cy, w, h, theta) in pixels and radians.
            target: targets of the same shape, in the same frame.
            weight: ``(M,)`` weight of each pair, or ``(M, D)`` of each number of it, whose mean then counts where a
                pair has one term.
            avg_factor: divisor of the sum for reduction 'mean'.
            reduction_override: replaces the module's reduction for this call.

        Returns:
            A scalar, or the terms for reduction 'none'. Without predictions a zero that has a gradient.
        """
        reduction = reduction_override or self.reduction
        if pred.numel() == 0:
            return pred.sum() * 0
        with torch.autocast(pred.device.type, enabled=False):
            loss = self.function(pred.float(), target.float())
        return self.loss_weight * weight_reduce_loss(loss, _fitted(weight, loss), reduction, avg_factor)


def _fitted(weight: Tensor | None, loss: Tensor) -> Tensor | None:
    """Weights with as many dimensions as the terms: (M,) beside (M, D) would broadcast to (M, M) for M = D."""
    if weight is None or weight.dim() == loss.dim():
        return weight
    if weight.dim() > loss.dim():
        return weight.flatten(loss.dim()).mean(-1)
    return weight.reshape(weight.shape + (1,) * (loss.dim() - weight.dim()))

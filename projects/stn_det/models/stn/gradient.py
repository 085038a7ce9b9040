"""A smaller gradient for the same value."""

from typing import Any

import torch
from torch import Tensor


def scale_gradient(values: Tensor, factor: float) -> Tensor:
    """The values as they are, whose gradient is multiplied by a factor.

    Args:
        values: (...).
        factor: 0 or more; 0 computes no gradient at all.

    Returns:
        (...), equal bit for bit.
    """
    return values if factor == 1 else values.detach() if factor == 0 else _Scale.apply(values, factor)


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.factor, None

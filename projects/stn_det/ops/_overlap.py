"""Schema, fake kernel and gradient that the overlap operators share.

Letters: M first shapes, N second shapes, of F and S numbers each.
"""

from typing import Any

import torch
from torch import Tensor

from stn_det.ops._library import define, differentiate


def define_overlap(name: str) -> None:
    """Declare ``name(first (M, F), second (N, S), aligned, iof) -> (M, N) or (M,)`` and its backward."""

    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        run = getattr(torch.ops.stn_det, f'{name}_backward')
        return *run(grad_output, *ctx.saved_tensors, ctx.aligned, ctx.iof), None, None

    define(f'{name}(Tensor first, Tensor second, bool aligned, bool iof) -> Tensor', _fake)
    define(
        f'{name}_backward(Tensor grad_output, Tensor first, Tensor second, bool aligned, bool iof) -> (Tensor, Tensor)',
        _fake_backward,
    )
    differentiate(name, backward, _setup)


def _fake(first: Tensor, second: Tensor, aligned: bool, iof: bool) -> Tensor:
    return first.new_empty(first.shape[0]) if aligned else first.new_empty(first.shape[0], second.shape[0])


def _fake_backward(
    grad_output: Tensor, first: Tensor, second: Tensor, aligned: bool, iof: bool
) -> tuple[Tensor, Tensor]:
    return first.new_empty(first.shape), second.new_empty(second.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    first, second, ctx.aligned, ctx.iof = inputs
    ctx.save_for_backward(first, second)

"""Sigmoid focal loss for class labels.

Focal Loss for Dense Object Detection, https://arxiv.org/abs/1708.02002. Argument meaning follows mmcv.
"""

from typing import Any

import torch
from torch import Tensor

from stn_det.checks import check_choice, check_float_shape, check_length, check_same_device, check_shape, compute_dtype
from stn_det.errors import InputError
from stn_det.ops._library import define, differentiate, is_compiled
from stn_det.ops.reference.sigmoid_focal_loss import sigmoid_focal_loss_reference


def sigmoid_focal_loss(
    input: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    alpha: float = 0.25,
    weight: Tensor | None = None,
    reduction: str = 'mean',
) -> Tensor:
    """Focal loss of C independent sigmoid classifiers against one class label a row.

    Args:
        input: logits (M, C).
        target: (M,) int64; C, or any number outside [0, C), means background: all columns are negative.
        gamma: focusing exponent, not negative.
        alpha: share of the positive terms; negative terms get ``1 - alpha``.
        weight: (C,) factor of a row by its target class; background rows keep factor 1.
        reduction: ``'none'`` for (M, C), ``'sum'``, or ``'mean'``: the sum over rows and classes divided by M (0 for
            M = 0).

    Returns:
        (M, C) or a scalar, in the dtype of ``input``; computed in float32 at least. Differentiable to ``input``. On a
        CPU the compiled result and its gradient do not depend on the number of threads.

    Raises:
        InputError: for a wrong shape, dtype, device or option.
    """
    check_float_shape('input', input, ('M', 'C'))
    check_shape('target', target, ('M',))
    check_length('target', target, input.shape[0], 'input')
    check_choice('reduction', reduction, ('none', 'sum', 'mean'))
    check_same_device(input=input, target=target, weight=weight)
    if target.is_floating_point():
        raise InputError(f'target has dtype {target.dtype}, expected class indices (int64); call target.long()')
    if weight is not None:
        check_float_shape('weight', weight, input.shape[1:])
    loss = _loss(input, target.long(), float(gamma), float(alpha), weight, reduction != 'none')
    if reduction == 'mean':
        loss = loss / max(1, input.shape[0])
    return loss.to(input.dtype)


def _loss(input: Tensor, target: Tensor, gamma: float, alpha: float, weight: Tensor | None, total: bool) -> Tensor:
    """Terms (M, C) or their sum in the dtype to compute in."""
    dtype = compute_dtype(input)
    learned_weight = weight is not None and weight.requires_grad
    if learned_weight or gamma < 0 or not is_compiled('sigmoid_focal_loss', input.device):
        terms = sigmoid_focal_loss_reference(input.to(dtype), target, gamma, alpha, weight)
        return terms.sum() if total else terms
    factors = None if weight is None else weight.to(dtype)
    with_slope = torch.is_grad_enabled() and input.requires_grad
    return torch.ops.stn_det.sigmoid_focal_loss(input, target, factors, gamma, alpha, total, with_slope)[0]


def _fake(
    input: Tensor, target: Tensor, weight: Tensor | None, gamma: float, alpha: float, total: bool, with_slope: bool
) -> tuple[Tensor, Tensor]:
    rows, classes = input.shape
    dtype = compute_dtype(input)
    loss = input.new_empty(() if total else (rows, classes), dtype=dtype)
    return loss, input.new_empty((rows if with_slope else 0, classes), dtype=dtype)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    input, target, weight, ctx.gamma, ctx.alpha, _, ctx.with_slope = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.dtype = input.dtype
    ctx.save_for_backward(*((output[1],) if ctx.with_slope else (input, target, weight)))


def _backward(ctx: Any, grad_loss: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    """One multiplication: the derivative of each term was computed together with the term."""
    if ctx.with_slope:
        (slope,) = ctx.saved_tensors
    else:
        slope = torch.ops.stn_det.sigmoid_focal_loss(*ctx.saved_tensors, ctx.gamma, ctx.alpha, True, True)[1]
    return (grad_loss * slope).to(ctx.dtype), *(None for _ in range(6))


define(
    'sigmoid_focal_loss(Tensor input, Tensor target, Tensor? weight, float gamma, float alpha, bool total, '
    'bool with_slope) -> (Tensor loss, Tensor slope)',
    _fake,
)
differentiate('sigmoid_focal_loss', _backward, _setup)

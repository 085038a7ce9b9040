"""Sigmoid focal loss for class labels.

Focal Loss for Dense Object Detection, https://arxiv.org/abs/1708.02002. Argument meaning follows mmcv.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stn_det.checks import check_choice, check_float_shape, check_length, check_same_device, check_shape, compute_dtype
from stn_det.errors import InputError


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
        (M, C) or a scalar, in the dtype of ``input``; computed in float32 at least.

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
    logits = input.to(compute_dtype(input))
    num_classes = logits.shape[1]
    positive = target[:, None] == torch.arange(num_classes, device=target.device)
    # With z the logit of being wrong, a term is -(sigmoid(z) ** gamma) * log(sigmoid(-z)).
    wrong = torch.where(positive, -logits, logits)
    share = torch.where(positive, alpha, 1 - alpha).to(logits.dtype)
    loss = -share * wrong.sigmoid().pow(gamma) * F.logsigmoid(-wrong)
    if weight is not None:
        check_float_shape('weight', weight, (num_classes,))
        factors = torch.cat([weight.to(logits.dtype), logits.new_ones(1)])
        loss = loss * factors[torch.where(positive.any(1), target, num_classes)][:, None]
    if reduction == 'sum':
        loss = loss.sum()
    elif reduction == 'mean':
        loss = loss.sum() / max(1, logits.shape[0])
    return loss.to(input.dtype)

"""IoU and generalised IoU of pairs of rotated boxes, for losses.

Generalized Intersection over Union, https://arxiv.org/abs/1902.09630. The enclosing shape is the exact convex hull of
the two boxes, so the value does not depend on the choice of axes.
"""

from typing import Any

import torch
from torch import Tensor

from stn_det.checks import check_float_shape, check_same_device, compute_dtype
from stn_det.ops._library import define, differentiate, is_compiled
from stn_det.ops._pairs import check_aligned
from stn_det.ops.reference.rotated_iou_giou import rotated_iou_giou_reference


def rotated_iou_giou(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and GIoU of row k of one set with row k of the other.

    Negative widths and heights count as 0. A pair with a box that is not finite, and a pair whose hull has no area, has
    IoU 0, GIoU -1 and gradient 0. A box without area beside one that has some keeps a useful GIoU gradient.
    Half-precision inputs are computed in float32 and the results are float32.

    Args:
        boxes1: (M, 5) as (cx, cy, w, h, theta), pixels and radians.
        boxes2: (M, 5), same frame.

    Returns:
        IoU (M,) in [0, 1] and GIoU (M,) in [-1, 1], both differentiable once to both inputs.

    Raises:
        InputError: for a wrong shape, dtype, device or unequal lengths.
    """
    check_float_shape('boxes1', boxes1, ('M', 5))
    check_float_shape('boxes2', boxes2, ('M', 5))
    check_same_device(boxes1=boxes1, boxes2=boxes2)
    check_aligned('boxes1', boxes1.shape[0], 'boxes2', boxes2.shape[0])
    dtype = compute_dtype(boxes1, boxes2)
    boxes1, boxes2 = boxes1.to(dtype), boxes2.to(dtype)
    if not is_compiled('rotated_iou_giou', boxes1.device):
        return rotated_iou_giou_reference(boxes1, boxes2)
    return torch.ops.stn_det.rotated_iou_giou(boxes1, boxes2)


def _fake(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    return boxes1.new_empty(boxes1.shape[0]), boxes1.new_empty(boxes1.shape[0])


def _fake_backward(grad_iou: Tensor, grad_giou: Tensor, boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    return boxes1.new_empty(boxes1.shape), boxes2.new_empty(boxes2.shape)


def _setup(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad_iou: Tensor, grad_giou: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ops.stn_det.rotated_iou_giou_backward(grad_iou, grad_giou, *ctx.saved_tensors)


define('rotated_iou_giou(Tensor boxes1, Tensor boxes2) -> (Tensor, Tensor)', _fake)
define(
    'rotated_iou_giou_backward(Tensor grad_iou, Tensor grad_giou, Tensor boxes1, Tensor boxes2) -> (Tensor, Tensor)',
    _fake_backward,
)
differentiate('rotated_iou_giou', _backward, _setup)

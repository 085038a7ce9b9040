"""Overlap of rotated boxes (IoU or IoF), exact, for all pairs or row by row.

Frame: continuous pixels, y down; a box is (cx, cy, w, h, theta), theta in radians, positive clockwise on screen. The
result does not depend on the sense of rotation as long as both arguments share it.
"""

import torch
from torch import Tensor

from stn_det.checks import check_choice, check_float_shape, check_same_device, compute_dtype
from stn_det.ops._library import is_compiled
from stn_det.ops._overlap import define_overlap
from stn_det.ops._pairs import check_aligned
from stn_det.ops.reference.box_iou_rotated import box_iou_rotated_reference


def box_iou_rotated(boxes1: Tensor, boxes2: Tensor, aligned: bool = False, mode: str = 'iou') -> Tensor:
    """Overlap of rotated boxes.

    A box that is not finite or whose width or height is not positive overlaps nothing: its row is 0, never NaN, and its
    gradient is 0. Half-precision inputs are computed in float32 and the result is float32; autocast does not touch it.

    Args:
        boxes1: (M, 5) as (cx, cy, w, h, theta), pixels and radians.
        boxes2: (N, 5); N = M if ``aligned``.
        aligned: compare row k with row k instead of all with all.
        mode: ``'iou'`` for intersection over union, ``'iof'`` for intersection over the area of ``boxes1``.

    Returns:
        (M, N), or (M,) if ``aligned``; values in [0, 1], differentiable once to both inputs.

    Raises:
        InputError: for a wrong shape, dtype, device or mode.
    """
    check_float_shape('boxes1', boxes1, ('M', 5))
    check_float_shape('boxes2', boxes2, ('N', 5))
    check_same_device(boxes1=boxes1, boxes2=boxes2)
    check_choice('mode', mode, ('iou', 'iof'))
    dtype = compute_dtype(boxes1, boxes2)
    boxes1, boxes2 = boxes1.to(dtype), boxes2.to(dtype)
    if aligned:
        check_aligned('boxes1', boxes1.shape[0], 'boxes2', boxes2.shape[0])
    if not is_compiled('box_iou_rotated', boxes1.device):
        return box_iou_rotated_reference(boxes1, boxes2, aligned, mode)
    return torch.ops.stn_det.box_iou_rotated(boxes1, boxes2, aligned, mode == 'iof')


define_overlap('box_iou_rotated')

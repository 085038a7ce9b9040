"""Overlap of rotated boxes with arbitrary simple quads (IoU or IoF), exact."""

import torch
from torch import Tensor

from stn_det.checks import check_choice, check_float_shape, check_same_device, compute_dtype
from stn_det.ops._library import is_compiled
from stn_det.ops._overlap import define_overlap
from stn_det.ops._pairs import check_aligned
from stn_det.ops.reference.box_iou_quadri import box_iou_quadri_reference


def box_iou_quadri(boxes: Tensor, quads: Tensor, aligned: bool = False, mode: str = 'iou') -> Tensor:
    """Overlap of rotated boxes with quads.

    A quad may be convex or not and run in either direction, but its sides must not cross each other. A box or quad that
    is not finite or has no area overlaps nothing: 0, never NaN. Half-precision inputs are computed in float32 and the
    result is float32.

    Args:
        boxes: (M, 5) as (cx, cy, w, h, theta), pixels and radians, clockwise on screen.
        quads: (N, 8) as (x1, y1, ..., x4, y4), pixels; N = M if ``aligned``.
        aligned: compare row k with row k instead of all with all.
        mode: ``'iou'`` for intersection over union, ``'iof'`` for intersection over the area of ``boxes``.

    Returns:
        (M, N), or (M,) if ``aligned``; values in [0, 1], differentiable once to both inputs.

    Raises:
        InputError: for a wrong shape, dtype, device or mode.
    """
    check_float_shape('boxes', boxes, ('M', 5))
    check_float_shape('quads', quads, ('N', 8))
    check_same_device(boxes=boxes, quads=quads)
    check_choice('mode', mode, ('iou', 'iof'))
    dtype = compute_dtype(boxes, quads)
    boxes, quads = boxes.to(dtype), quads.to(dtype)
    if aligned:
        check_aligned('boxes', boxes.shape[0], 'quads', quads.shape[0])
    if not is_compiled('box_iou_quadri', boxes.device):
        return box_iou_quadri_reference(boxes, quads, aligned, mode)
    return torch.ops.stn_det.box_iou_quadri(boxes, quads, aligned, mode == 'iof')


define_overlap('box_iou_quadri')

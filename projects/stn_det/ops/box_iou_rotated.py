"""Overlap of rotated boxes (IoU or IoF), exact, for all pairs or row by row.

Frame: continuous pixels, y down; a box is (cx, cy, w, h, theta), theta in radians, positive clockwise on screen. The
result does not depend on the sense of rotation as long as both arguments share it.
"""

import torch
from torch import Tensor

from stn_det.checks import check_choice, check_float_shape, check_same_device, compute_dtype
from stn_det.ops._clip import clipped_area, rbox_corners_in_frame
from stn_det.ops._pairs import check_aligned, overlap_aligned, overlap_matrix, rbox_bounds, usable


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
    boxes1, boxes2 = clean_rboxes(boxes1.to(dtype)), clean_rboxes(boxes2.to(dtype))
    columns1, columns2 = boxes1.t().contiguous(), boxes2.t().contiguous()

    def overlap(i: Tensor, j: Tensor) -> Tensor:
        return rotated_overlap(columns1.index_select(1, i), columns2.index_select(1, j), mode)

    if aligned:
        check_aligned('boxes1', boxes1.shape[0], 'boxes2', boxes2.shape[0])
        return overlap_aligned(boxes1.shape[0], boxes1.device, overlap)
    return overlap_matrix(rbox_bounds(boxes1), rbox_bounds(boxes2), overlap)


def clean_rboxes(boxes: Tensor) -> Tensor:
    """Boxes (M, 5) with those that cannot overlap anything replaced by zeros, which also stops their gradient."""
    proper = usable(boxes) & (boxes[:, 2:4] > 0).all(-1)
    return torch.where(proper[:, None], boxes, boxes.new_zeros(()))


def rotated_intersection(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Intersection areas (P,) of the pairs of clean boxes (5, P)."""
    x, y = rbox_corners_in_frame(boxes1, boxes2)
    area = clipped_area(x, y, 0.5 * boxes1[2], 0.5 * boxes1[3])
    return torch.minimum(area, torch.minimum(boxes1[2] * boxes1[3], boxes2[2] * boxes2[3]))


def rotated_overlap(boxes1: Tensor, boxes2: Tensor, mode: str) -> Tensor:
    """IoU or IoF (P,) of the pairs of clean boxes (5, P)."""
    intersection = rotated_intersection(boxes1, boxes2)
    area1 = boxes1[2] * boxes1[3]
    whole = area1 if mode == 'iof' else area1 + boxes2[2] * boxes2[3] - intersection
    return intersection / torch.where(whole > 0, whole, torch.ones_like(whole))

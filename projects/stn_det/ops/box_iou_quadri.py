"""Overlap of rotated boxes with arbitrary simple quads (IoU or IoF), exact."""

import torch
from torch import Tensor

from stn_det.checks import check_choice, check_float_shape, check_same_device, compute_dtype
from stn_det.ops._clip import clipped_area, quad_corners_in_frame, shoelace
from stn_det.ops._pairs import check_aligned, overlap_aligned, overlap_matrix, quad_bounds, rbox_bounds, usable
from stn_det.ops.box_iou_rotated import clean_rboxes


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
    boxes, quads = clean_rboxes(boxes.to(dtype)), quads.to(dtype)
    quads = torch.where(usable(quads)[:, None], quads, quads.new_zeros(()))
    box_columns, quad_columns = boxes.t().contiguous(), quads.t().contiguous()

    def overlap(i: Tensor, j: Tensor) -> Tensor:
        return _box_quad_overlap(box_columns.index_select(1, i), quad_columns.index_select(1, j), mode)

    if aligned:
        check_aligned('boxes', boxes.shape[0], 'quads', quads.shape[0])
        return overlap_aligned(boxes.shape[0], boxes.device, overlap)
    return overlap_matrix(rbox_bounds(boxes), quad_bounds(quads), overlap)


def _box_quad_overlap(boxes: Tensor, quads: Tensor, mode: str) -> Tensor:
    """IoU or IoF (P,) of pairs of clean boxes (5, P) and finite quads (8, P)."""
    x, y = quad_corners_in_frame(boxes, quads)
    box_area, quad_area = boxes[2] * boxes[3], shoelace(x, y).abs()
    intersection = clipped_area(x, y, 0.5 * boxes[2], 0.5 * boxes[3])
    intersection = torch.minimum(intersection, torch.minimum(box_area, quad_area))
    whole = box_area if mode == 'iof' else box_area + quad_area - intersection
    return intersection / torch.where(whole > 0, whole, torch.ones_like(whole))

"""Overlap of rotated boxes with simple quads in plain PyTorch, on any device."""

import torch
from torch import Tensor

from stn_det.ops._clip import clipped_area, quad_corners_in_frame, shoelace
from stn_det.ops._pairs import overlap_aligned, overlap_matrix, quad_bounds, rbox_bounds, usable
from stn_det.ops.reference.box_iou_rotated import clean_rboxes


def box_iou_quadri_reference(boxes: Tensor, quads: Tensor, aligned: bool, mode: str) -> Tensor:
    """:func:`stn_det.ops.box_iou_quadri` after its checks; both sets in the dtype to compute in."""
    boxes, quads = clean_rboxes(boxes), torch.where(usable(quads)[:, None], quads, quads.new_zeros(()))
    box_columns, quad_columns = boxes.t().contiguous(), quads.t().contiguous()

    def overlap(i: Tensor, j: Tensor) -> Tensor:
        return _box_quad_overlap(box_columns.index_select(1, i), quad_columns.index_select(1, j), mode)

    if aligned:
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

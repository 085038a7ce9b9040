"""Overlap of rotated boxes in plain PyTorch, on any device."""

import torch
from torch import Tensor

from stn_det.ops._clip import clipped_area, rbox_corners_in_frame
from stn_det.ops._pairs import overlap_aligned, overlap_matrix, rbox_bounds, usable


def box_iou_rotated_reference(boxes1: Tensor, boxes2: Tensor, aligned: bool, mode: str) -> Tensor:
    """:func:`stn_det.ops.box_iou_rotated` after its checks; both sets in the dtype to compute in."""
    boxes1, boxes2 = clean_rboxes(boxes1), clean_rboxes(boxes2)
    columns1, columns2 = boxes1.t().contiguous(), boxes2.t().contiguous()

    def overlap(i: Tensor, j: Tensor) -> Tensor:
        return rotated_overlap(columns1.index_select(1, i), columns2.index_select(1, j), mode)

    if aligned:
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

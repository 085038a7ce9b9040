"""Non-maximum suppression of rotated boxes in plain PyTorch, on any device."""

import torch
from torch import Tensor

from stn_det.ops._clip import rbox_corners_in_frame
from stn_det.ops._pairs import rbox_bounds, usable
from stn_det.ops._suppression import suppress
from stn_det.ops.reference.box_iou_rotated import clean_rboxes, rotated_overlap


def nms_rotated_reference(boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None) -> Tensor:
    """:func:`stn_det.ops.nms_rotated` after its checks; boxes in the dtype to compute in."""
    clean = clean_rboxes(boxes)
    columns = clean.t().contiguous()

    def overlap(i: Tensor, j: Tensor) -> Tensor:
        return rotated_overlap(columns.index_select(1, i), columns.index_select(1, j), 'iou')

    def may_exceed(i: Tensor, j: Tensor) -> Tensor:
        return iou_bound(columns.index_select(1, i), columns.index_select(1, j)) > iou_threshold

    return suppress(rbox_bounds(clean), scores, labels, usable(boxes), overlap, iou_threshold, may_exceed)


def iou_bound(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Upper bound (P,) of the IoU of clean boxes (5, P): box 2 replaced by its bounds in the frame of box 1."""
    x, y = rbox_corners_in_frame(boxes1, boxes2)
    half_w, half_h = 0.5 * boxes1[2], 0.5 * boxes1[3]
    shared_x = torch.minimum(x.amax(0), half_w) - torch.maximum(x.amin(0), -half_w)
    shared_y = torch.minimum(y.amax(0), half_h) - torch.maximum(y.amin(0), -half_h)
    area1, area2 = boxes1[2] * boxes1[3], boxes2[2] * boxes2[3]
    # The slack keeps rounding from turning the bound into a rejection of a pair that exactly meets the threshold.
    shared = shared_x.clamp(min=0) * shared_y.clamp(min=0) * (1 + 1e-5)
    shared = torch.minimum(shared, torch.minimum(area1, area2))
    return shared / (area1 + area2 - shared) * (1 + 1e-5)

"""Non-maximum suppression of axis-aligned boxes, class-aware."""

import torch
from torch import Tensor

from stn_det.checks import compute_dtype
from stn_det.ops._pairs import usable
from stn_det.ops._suppression import check_nms_arguments, suppress


@torch.no_grad()
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None) -> Tensor:
    """Keep the best of axis-aligned boxes that overlap.

    Boxes are visited by falling score, ties by index; one is dropped when a kept box of the same label overlaps it by
    strictly more than ``iou_threshold``. Boxes that are not finite and boxes with a NaN score are never kept; a box
    without area overlaps nothing.

    Args:
        boxes: (M, 4) as (x1, y1, x2, y2), pixels.
        scores: (M,) floating point.
        iou_threshold: in [0, 1].
        labels: (M,) integers, or None to let all boxes compete.

    Returns:
        Indices (K,) int64 of the kept boxes by falling score.

    Raises:
        InputError: for a wrong shape, dtype, device or threshold.
    """
    check_nms_arguments('boxes', boxes, 4, scores, iou_threshold, labels)
    boxes = boxes.to(compute_dtype(boxes))
    columns = boxes.t().contiguous()

    def overlap(i: Tensor, j: Tensor) -> Tensor:
        return hbox_iou(columns.index_select(1, i), columns.index_select(1, j))

    return suppress(boxes, scores, labels, usable(boxes), overlap, iou_threshold)


def hbox_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU of axis-aligned boxes (4, ...) and (4, ...) that broadcast; 0 where the union has no area."""
    width = (torch.minimum(boxes1[2], boxes2[2]) - torch.maximum(boxes1[0], boxes2[0])).clamp(min=0)
    height = (torch.minimum(boxes1[3], boxes2[3]) - torch.maximum(boxes1[1], boxes2[1])).clamp(min=0)
    shared = width * height
    union = hbox_area(boxes1) + hbox_area(boxes2) - shared
    return shared / torch.where(union > 0, union, torch.ones_like(union))


def hbox_area(boxes: Tensor) -> Tensor:
    """Area of axis-aligned boxes (4, ...); 0 for a box turned inside out."""
    return (boxes[2] - boxes[0]).clamp(min=0) * (boxes[3] - boxes[1]).clamp(min=0)

"""Non-maximum suppression of axis-aligned boxes in plain PyTorch, on any device."""

import torch
from torch import Tensor

from stn_det.ops._pairs import usable
from stn_det.ops._suppression import suppress


def nms_reference(boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None) -> Tensor:
    """:func:`stn_det.ops.nms` after its checks; boxes in the dtype to compute in."""
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

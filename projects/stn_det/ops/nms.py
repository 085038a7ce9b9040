"""Non-maximum suppression of axis-aligned boxes, class-aware."""

import torch
from torch import Tensor

from stn_det.checks import compute_dtype
from stn_det.ops._library import is_compiled
from stn_det.ops._nms import check_nms_arguments, claims, define_suppression, kept
from stn_det.ops.reference.nms import nms_reference


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
        labels: (M,) integers, or None to let all boxes compete. Use ``image * num_classes + label`` for a batch.

    Returns:
        Indices (K,) int64 of the kept boxes by falling score.

    Raises:
        InputError: for a wrong shape, dtype, device or threshold.
    """
    check_nms_arguments('boxes', boxes, 4, scores, iou_threshold, labels)
    boxes = boxes.to(compute_dtype(boxes))
    if not is_compiled('nms', boxes.device):
        return nms_reference(boxes, scores, iou_threshold, labels)
    return kept(*claims('nms', boxes, scores, iou_threshold, labels))


define_suppression('nms')

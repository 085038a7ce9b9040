"""Non-maximum suppression of rotated boxes, class-aware and exact."""

import torch
from torch import Tensor

from stn_det.checks import compute_dtype
from stn_det.ops._library import is_compiled
from stn_det.ops._nms import check_nms_arguments, claims, define_suppression, kept
from stn_det.ops.reference.nms_rotated import nms_rotated_reference


@torch.no_grad()
def nms_rotated(boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None) -> Tensor:
    """Keep the best of rotated boxes that overlap.

    Boxes are visited by falling score, ties by index; one is dropped when a kept box of the same label overlaps it by
    strictly more than ``iou_threshold``. Boxes that are not finite and boxes with a NaN score are never kept; a box
    without positive width and height overlaps nothing. Labels are compared as they are, coordinates are not shifted by
    class.

    Args:
        boxes: (M, 5) as (cx, cy, w, h, theta), pixels and radians.
        scores: (M,) floating point.
        iou_threshold: in [0, 1].
        labels: (M,) integers, or None to let all boxes compete. Use ``image * num_classes + label`` for a batch.

    Returns:
        Indices (K,) int64 of the kept boxes by falling score. Their number waits for the GPU, which
        :func:`nms_rotated_mask` does not.

    Raises:
        InputError: for a wrong shape, dtype, device or threshold.
    """
    check_nms_arguments('boxes', boxes, 5, scores, iou_threshold, labels)
    boxes = boxes.to(compute_dtype(boxes))
    if not is_compiled('nms_rotated', boxes.device):
        return nms_rotated_reference(boxes, scores, iou_threshold, labels)
    return kept(*claims('nms_rotated', boxes, scores, iou_threshold, labels))


define_suppression('nms_rotated')

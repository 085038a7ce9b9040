"""Non-maximum suppression of rotated boxes as a mask, whose size depends on no value."""

import torch
from torch import Tensor

from stn_det.checks import compute_dtype
from stn_det.ops._library import is_compiled
from stn_det.ops._nms import check_nms_arguments, claims
from stn_det.ops.reference.nms_rotated import nms_rotated_reference


@torch.no_grad()
def nms_rotated_mask(boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None) -> Tensor:
    """Which of rotated boxes :func:`nms_rotated` keeps.

    How many boxes are kept is known to the GPU alone, so that indices of them wait for it. A mask does not: on compiled
    operators nothing is read back, a CUDA graph can capture the call, and torch.compile makes one graph of it.

    Args:
        boxes: (M, 5) as (cx, cy, w, h, theta), pixels and radians.
        scores: (M,) floating point; NaN for places that hold no box.
        iou_threshold: in [0, 1].
        labels: (M,) integers, or None to let all boxes compete.

    Returns:
        (M,) bool, True for the boxes that are kept.

    Raises:
        InputError: for a wrong shape, dtype, device or threshold.

    Example:
        The best two boxes of each of two images with three candidates, in one call:

        >>> import torch
        >>> from stn_det.ops import nms_rotated_mask
        >>> boxes = torch.tensor([[30.0, 20, 16, 6, 0.3], [30.0, 21, 16, 6, 0.4], [80.0, 20, 16, 6, 0.3]])
        >>> boxes = boxes.expand(2, 3, 5)
        >>> scores = torch.tensor([[0.9, 0.8, 0.7], [0.5, 0.6, 0.4]])
        >>> labels = torch.tensor([[0, 0, 1], [2, 0, 1]])
        >>> groups = 3 * torch.arange(2)[:, None] + labels  # of three classes
        >>> keep = nms_rotated_mask(boxes.flatten(0, 1), scores.flatten(), 0.1, groups.flatten()).view(2, 3)
        >>> keep.tolist()
        [[True, False, True], [True, True, True]]
        >>> best, index = scores.where(keep, 0).topk(2)  # a score of 0: fewer than two are kept
        >>> index.tolist()
        [[0, 2], [1, 0]]
    """
    check_nms_arguments('boxes', boxes, 5, scores, iou_threshold, labels)
    boxes = boxes.to(compute_dtype(boxes))
    if not is_compiled('nms_rotated', boxes.device):
        keep = torch.zeros(boxes.shape[0], dtype=torch.bool, device=boxes.device)
        keep[nms_rotated_reference(boxes, scores, iou_threshold, labels)] = True
        return keep
    _, owner = claims('nms_rotated', boxes, scores, iou_threshold, labels)
    return owner == torch.arange(boxes.shape[0], device=boxes.device)

"""Soft-NMS of axis-aligned boxes: overlapping boxes lose score instead of being dropped.

Soft-NMS: Improving Object Detection With One Line of Code, https://arxiv.org/abs/1704.04503. Arguments mean what they
mean in mmcv.
"""

import torch
from torch import Tensor

from stn_det.checks import check_choice, check_float_shape, check_length, check_same_device, compute_dtype
from stn_det.errors import InputError
from stn_det.ops._library import define, is_compiled
from stn_det.ops.reference.soft_nms import soft_nms_reference

METHODS = ('naive', 'linear', 'gaussian')


@torch.no_grad()
def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 1e-3,
    method: str = 'linear',
    offset: int = 0,
) -> tuple[Tensor, Tensor]:
    """Visit boxes by falling current score and lower the score of those that overlap the visited one.

    With overlap o the score of a box is multiplied by: naive, 0 if ``o >= iou_threshold``; linear, ``1 - o`` if
    ``o >= iou_threshold``; gaussian, ``exp(-o * o / sigma)`` always. Boxes whose score falls below ``min_score`` are
    dropped, and so are boxes that are not finite or have a NaN score. Ties go to the lower index.

    Args:
        boxes: (M, 4) as (x1, y1, x2, y2), pixels.
        scores: (M,) floating point.
        iou_threshold: overlap from which the naive and linear methods act.
        sigma: width of the gaussian method, positive.
        min_score: lowest score that is kept.
        method: ``'naive'``, ``'linear'`` or ``'gaussian'``.
        offset: 0 or 1; a box is ``x2 - x1 + offset`` wide (1 for boxes in whole-pixel indices).

    Returns:
        Detections (K, 5) as (x1, y1, x2, y2, lowered score) and their indices (K,) int64, in the order of the visits.

    Raises:
        InputError: for a wrong shape, dtype, device or option.
    """
    check_float_shape('boxes', boxes, ('M', 4))
    check_float_shape('scores', scores, ('M',))
    check_length('scores', scores, boxes.shape[0], 'boxes')
    check_same_device(boxes=boxes, scores=scores)
    check_choice('method', method, METHODS)
    check_choice('offset', offset, (0, 1))
    if not sigma > 0:
        raise InputError(f'sigma is {sigma!r}, expected a positive number')
    dtype = compute_dtype(boxes, scores)
    wide, current = boxes.to(dtype), scores.to(dtype)
    if is_compiled('soft_nms', boxes.device):
        visits, padded = torch.ops.stn_det.soft_nms(
            wide, current, float(iou_threshold), float(sigma), float(min_score), METHODS.index(method), offset
        )
        visited = (visits >= 0).nonzero()[:, 0]
        index, lowered = visits[visited], padded[visited]
    else:
        index, lowered = soft_nms_reference(wide, current, iou_threshold, sigma, min_score, method, offset)
    return torch.cat([boxes[index], lowered.to(boxes.dtype)[:, None]], 1), index


def _fake(
    boxes: Tensor, scores: Tensor, iou_threshold: float, sigma: float, min_score: float, method: int, offset: int
) -> tuple[Tensor, Tensor]:
    return scores.new_empty(scores.shape, dtype=torch.int64), scores.new_empty(scores.shape)


# Both results are of length M: after the last visit the indices are -1.
define(
    'soft_nms(Tensor boxes, Tensor scores, float iou_threshold, float sigma, float min_score, int method, int offset)'
    ' -> (Tensor visits, Tensor lowered)',
    _fake,
)

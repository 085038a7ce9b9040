"""Soft-NMS of axis-aligned boxes: overlapping boxes lose score instead of being dropped.

Soft-NMS: Improving Object Detection With One Line of Code, https://arxiv.org/abs/1704.04503. Arguments mean what they
mean in mmcv.
"""

import numpy as np
import torch
from torch import Tensor

from stn_det.checks import check_choice, check_float_shape, check_length, check_same_device, compute_dtype
from stn_det.errors import InputError
from stn_det.ops._pairs import usable

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
    proper = usable(boxes.to(dtype)) & ~scores.isnan()
    current = torch.where(proper, scores.to(dtype), -torch.inf).cpu().numpy().copy()
    current[current < min_score] = -np.inf
    visits, lowered = _visit(boxes.to(dtype).cpu().numpy(), current, iou_threshold, sigma, min_score, method, offset)
    index = torch.from_numpy(visits).to(boxes.device)
    final = torch.from_numpy(lowered).to(boxes)
    return torch.cat([boxes[index], final[:, None]], 1), index


def _visit(
    boxes: np.ndarray,
    scores: np.ndarray,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: str,
    offset: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (K,) and scores (K,) in the order of the visits; a score of -inf marks a box that is gone."""
    remaining = np.flatnonzero(scores > -np.inf)
    visits, lowered = np.empty(remaining.size, np.int64), np.empty(remaining.size, scores.dtype)
    count = 0
    while remaining.size:
        place = int(scores[remaining].argmax())
        best = remaining[place]
        visits[count], lowered[count] = best, scores[best]
        count += 1
        remaining = np.delete(remaining, place)
        scores[remaining] *= _decay(_iou(boxes[best], boxes[remaining], offset), iou_threshold, sigma, method)
        remaining = remaining[scores[remaining] >= min_score]
    return visits[:count], lowered[:count]


def _decay(overlap: np.ndarray, iou_threshold: float, sigma: float, method: str) -> np.ndarray:
    if method == 'gaussian':
        return np.exp(-(overlap * overlap) / sigma)
    return np.where(overlap >= iou_threshold, 0.0 if method == 'naive' else 1 - overlap, 1.0).astype(overlap.dtype)


def _iou(box: np.ndarray, boxes: np.ndarray, offset: int) -> np.ndarray:
    size = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]) + offset
    shared = np.maximum(size, 0).prod(1)
    union = (box[2:] - box[:2] + offset).prod() + (boxes[:, 2:] - boxes[:, :2] + offset).prod(1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)

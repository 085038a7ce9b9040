"""Soft-NMS on the host with numpy."""

import numpy as np
import torch
from torch import Tensor

from stn_det.ops._pairs import usable


def soft_nms_reference(
    boxes: Tensor, scores: Tensor, iou_threshold: float, sigma: float, min_score: float, method: str, offset: int
) -> tuple[Tensor, Tensor]:
    """Visits (K,) and lowered scores (K,) of :func:`stn_det.ops.soft_nms`; arguments in the dtype to compute in."""
    proper = usable(boxes) & ~scores.isnan()
    current = torch.where(proper, scores, -torch.inf).cpu().numpy().copy()
    current[current < min_score] = -np.inf
    visits, lowered = _visit(boxes.cpu().numpy(), current, iou_threshold, sigma, min_score, method, offset)
    return torch.from_numpy(visits).to(boxes.device), torch.from_numpy(lowered).to(boxes.device)


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

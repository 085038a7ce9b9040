"""Greedy suppression shared by the NMS operators: find the pairs that overlap too much, then walk them by score.

Boxes are visited by falling score (ties by index). A box is dropped when a kept box of the same label overlaps it by
more than the threshold; equality keeps it.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from stn_det.checks import check_float_shape, check_fraction, check_length, check_same_device, check_shape
from stn_det.errors import InputError
from stn_det.ops._pairs import PAIRS_PER_CLIP, PAIRS_PER_TEST, PairOverlap, bounds_meet

Suppressed = tuple[np.ndarray, np.ndarray]


def check_nms_arguments(
    name: str, boxes: Tensor, size: int, scores: Tensor, iou_threshold: float, labels: Tensor | None
) -> None:
    """Check what all NMS operators take: boxes (M, size), scores (M,), a threshold and labels (M,) or None."""
    check_float_shape(name, boxes, ('M', size))
    check_float_shape('scores', scores, ('M',))
    check_length('scores', scores, boxes.shape[0], name)
    check_fraction('iou_threshold', iou_threshold)
    if labels is not None:
        check_shape('labels', labels, ('M',))
        check_length('labels', labels, boxes.shape[0], name)
        if labels.is_floating_point():
            raise InputError(f'labels has dtype {labels.dtype}, expected an integer dtype; call labels.long()')
    check_same_device(**{name: boxes, 'scores': scores, 'labels': labels})


def suppress(
    bounds: Tensor,
    scores: Tensor,
    labels: Tensor | None,
    proper: Tensor,
    overlap: PairOverlap,
    iou_threshold: float,
    may_exceed: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Indices (K,) int64 of the kept boxes by falling score.

    Args:
        bounds: (M, 4) axis-aligned bounds outside which a box has no overlap.
        scores: (M,); boxes with a NaN score are never kept.
        labels: (M,) integers or None; boxes of different labels do not see each other.
        proper: (M,) bool; others are never kept and suppress nothing.
        overlap: exact IoU (P,) of the pairs with indices i (P,), j (P,).
        iou_threshold: in [0, 1].
        may_exceed: optional cheap test (P,) bool, False only where the IoU surely does not exceed the threshold.
    """
    order = rank(scores, proper)
    grouped = order
    if labels is not None:
        grouped = order[labels[order].argsort(stable=True)]
    first, second = overlapping_pairs(bounds, labels, grouped, overlap, iou_threshold, may_exceed)
    kept = greedy_walk(grouped.numel(), first, second)[0]
    keep = torch.zeros(scores.shape[0], dtype=torch.bool, device=scores.device)
    keep[grouped[torch.from_numpy(kept).to(order.device)]] = True
    return order[keep[order]]


def rank(scores: Tensor, proper: Tensor) -> Tensor:
    """Indices of the boxes that take part, by falling score, equal scores by rising index."""
    order = scores.argsort(descending=True, stable=True)
    return order[(proper & ~scores.isnan())[order]]


def overlapping_pairs(
    bounds: Tensor,
    labels: Tensor | None,
    grouped: Tensor,
    overlap: PairOverlap,
    iou_threshold: float,
    may_exceed: Callable[[Tensor, Tensor], Tensor] | None,
) -> Suppressed:
    """Positions (first < second) within ``grouped`` whose boxes share a label and overlap by more than the threshold.

    ``grouped`` lists boxes by label, within a label by falling score, so that a row only meets columns after it and up
    to the end of its label.
    """
    count = grouped.numel()
    bounds = bounds[grouped]
    ends = torch.full((count,), count, device=grouped.device)
    if labels is not None:
        ends = torch.searchsorted(labels[grouped].contiguous(), labels[grouped].contiguous(), right=True)
    ends_on_host = ends.cpu().numpy()
    columns = torch.arange(count, device=grouped.device)
    found: list[tuple[Tensor, Tensor]] = []
    start = 0
    while start < count:
        stop = min(count, start + max(1, min(512, PAIRS_PER_TEST // (count - start))))
        last = int(ends_on_host[stop - 1])
        meet = bounds_meet(bounds[start:stop], bounds[start:last])
        meet &= columns[None, start:last] > columns[start:stop, None]
        meet &= columns[None, start:last] < ends[start:stop, None]
        i, j = meet.nonzero(as_tuple=True)
        for part_i, part_j in zip((i + start).split(PAIRS_PER_CLIP), (j + start).split(PAIRS_PER_CLIP)):
            found.append(_exceeding(part_i, part_j, grouped, overlap, iou_threshold, may_exceed))
        start = stop
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first, second = (torch.cat(parts).cpu().numpy() for parts in zip(*found))
    return first, second


def _exceeding(
    i: Tensor,
    j: Tensor,
    grouped: Tensor,
    overlap: PairOverlap,
    iou_threshold: float,
    may_exceed: Callable[[Tensor, Tensor], Tensor] | None,
) -> tuple[Tensor, Tensor]:
    if may_exceed is not None:
        likely = may_exceed(grouped[i], grouped[j])
        i, j = i[likely], j[likely]
    too_much = overlap(grouped[i], grouped[j]) > iou_threshold
    return i[too_much], j[too_much]


def greedy_walk(count: int, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Visit ``count`` boxes in order and drop the ``second`` of each pair whose ``first`` is kept.

    Args:
        first, second: positions (P,), first < second, sorted by ``first``.

    Returns:
        Kept positions (K,), and for each box (count,) the position that keeps it or dropped it.
    """
    offsets = np.searchsorted(first, np.arange(count + 1))
    owner = np.full(count, -1, np.int64)
    for position in range(count):
        if owner[position] >= 0:
            continue
        owner[position] = position
        neighbours = second[offsets[position] : offsets[position + 1]]
        owner[neighbours[owner[neighbours] < 0]] = position
    return np.flatnonzero(owner == np.arange(count)), owner

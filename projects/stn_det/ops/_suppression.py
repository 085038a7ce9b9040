"""Greedy suppression shared by the NMS operators.

Boxes are visited by falling score (ties by index). A box is dropped when a kept box of the same label overlaps it by
more than the threshold; equality keeps it. The walk takes a block of boxes at a time and looks only for their overlaps
with boxes that are still in play, so memory is bounded and dropped boxes cost nothing further.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from stn_det.ops._pairs import PAIRS_PER_CLIP, PAIRS_PER_TEST, PairOverlap, bounds_meet

ROWS_AT_ONCE = 128  # few enough that boxes dropped by one block save work in the next

PairTest = Callable[[Tensor, Tensor], Tensor]


def suppress(
    bounds: Tensor,
    scores: Tensor,
    labels: Tensor | None,
    proper: Tensor,
    overlap: PairOverlap,
    iou_threshold: float,
    may_exceed: PairTest | None = None,
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
    grouped = order if labels is None else order[labels[order].argsort(stable=True)]
    owner = greedy_walk(bounds, labels, grouped, overlap, iou_threshold, may_exceed)
    kept = torch.from_numpy(np.flatnonzero(owner == np.arange(owner.size))).to(order.device)
    keep = torch.zeros(scores.shape[0], dtype=torch.bool, device=scores.device)
    keep[grouped[kept]] = True
    return order[keep[order]]


def rank(scores: Tensor, proper: Tensor) -> Tensor:
    """Indices of the boxes that take part, by falling score, equal scores by rising index."""
    order = scores.argsort(descending=True, stable=True)
    return order[(proper & ~scores.isnan())[order]]


def greedy_walk(
    bounds: Tensor,
    labels: Tensor | None,
    grouped: Tensor,
    overlap: PairOverlap,
    iou_threshold: float,
    may_exceed: PairTest | None = None,
) -> np.ndarray:
    """For each position in ``grouped`` (M,) the position of the box that keeps it (itself) or drops it: (M,) int64.

    ``grouped`` lists boxes by label and within a label by falling score, so that a box only meets boxes after it and up
    to the end of its label.
    """
    count, device = grouped.numel(), grouped.device
    ends: np.ndarray = np.full(count, count)
    if labels is not None:
        ordered = labels[grouped].cpu().numpy()
        ends = np.searchsorted(ordered, ordered, side='right')
    bounds = bounds[grouped]
    owner = np.full(count, -1, np.int64)
    waiting = np.arange(count)
    while waiting.size:
        rows = waiting[: max(1, min(ROWS_AT_ONCE, PAIRS_PER_TEST // waiting.size))]
        columns = waiting[: np.searchsorted(waiting, ends[rows[-1]])]
        row_index, column_index = (torch.from_numpy(part).to(device) for part in (rows, columns))
        meet = bounds_meet(bounds[row_index], bounds[column_index])
        meet &= column_index > row_index[:, None]
        if labels is not None:
            meet &= column_index < torch.from_numpy(ends[rows]).to(device)[:, None]
        i, j = meet.nonzero(as_tuple=True)
        first, second = _exceeding(row_index[i], column_index[j], grouped, overlap, iou_threshold, may_exceed)
        _claim(owner, rows, first, second)
        waiting = waiting[owner[waiting] < 0]
    return owner


def _exceeding(
    i: Tensor, j: Tensor, grouped: Tensor, overlap: PairOverlap, iou_threshold: float, may_exceed: PairTest | None
) -> tuple[np.ndarray, np.ndarray]:
    """Those of the pairs of positions whose boxes overlap by more than the threshold, on the host."""
    found = []
    for part_i, part_j in zip(i.split(PAIRS_PER_CLIP), j.split(PAIRS_PER_CLIP)):
        if may_exceed is not None:
            likely = may_exceed(grouped[part_i], grouped[part_j])
            part_i, part_j = part_i[likely], part_j[likely]
        too_much = overlap(grouped[part_i], grouped[part_j]) > iou_threshold
        found.append(torch.stack([part_i[too_much], part_j[too_much]]))
    first, second = torch.cat(found, 1).cpu().numpy()
    return first, second


def _claim(owner: np.ndarray, rows: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    """Visit the rows in order: one without owner owns itself and the ``second`` of its pairs that have none."""
    starts, stops = np.searchsorted(first, rows), np.searchsorted(first, rows, side='right')
    for row, start, stop in zip(rows, starts, stops):
        if owner[row] >= 0:
            continue
        owner[row] = row
        neighbours = second[start:stop]
        owner[neighbours[owner[neighbours] < 0]] = row

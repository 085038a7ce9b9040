"""Overlap of many boxes with many boxes: cheap rejection by bounding boxes, exact overlap of the survivors only."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from stn_det.errors import InputError

PAIRS_PER_TEST = 1 << 22  # pairs whose bounding boxes are compared at once, one byte each
PAIRS_PER_CLIP = 1 << 16  # pairs whose exact overlap is computed at once, about 30 numbers each

PairOverlap = Callable[[Tensor, Tensor], Tensor]


def usable(boxes: Tensor) -> Tensor:
    """Which of the boxes (M, D) hold only finite numbers whose products cannot overflow: (M,) bool."""
    return (boxes.abs() < torch.finfo(boxes.dtype).max ** 0.5 / 16).all(-1)


def rbox_bounds(boxes: Tensor) -> Tensor:
    """Axis-aligned bounds (M, 4) of rotated boxes (M, 5), widened by the rounding error of the coordinates."""
    centre, half = boxes[:, :2], 0.5 * boxes[:, 2:4]
    cos, sin = boxes[:, 4].cos().abs(), boxes[:, 4].sin().abs()
    reach = torch.stack([half[:, 0] * cos + half[:, 1] * sin, half[:, 0] * sin + half[:, 1] * cos], -1)
    return _widened(centre - reach, centre + reach)


def quad_bounds(quads: Tensor) -> Tensor:
    """Axis-aligned bounds (M, 4) of quads (M, 8), widened by the rounding error of the coordinates."""
    corners = quads.view(-1, 4, 2)
    return _widened(corners.amin(1), corners.amax(1))


def _widened(low: Tensor, high: Tensor) -> Tensor:
    margin = 8 * torch.finfo(low.dtype).eps * torch.maximum(low.abs(), high.abs())
    return torch.cat([low - margin, high + margin], -1)


def bounds_meet(bounds1: Tensor, bounds2: Tensor) -> Tensor:
    """Which axis-aligned bounds (M, 4), (N, 4) meet: (M, N) bool. NaN bounds meet nothing."""
    meet = bounds1[:, None, 0] <= bounds2[None, :, 2]
    meet &= bounds2[None, :, 0] <= bounds1[:, None, 2]
    meet &= bounds1[:, None, 1] <= bounds2[None, :, 3]
    meet &= bounds2[None, :, 1] <= bounds1[:, None, 3]
    return meet


def meeting_pairs(bounds1: Tensor, bounds2: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Index pairs (i, j) of bounds (M, 4), (N, 4) that meet, in row-major order, a bounded number at a time."""
    rows = max(1, PAIRS_PER_TEST // max(1, bounds2.shape[0]))
    for start in range(0, bounds1.shape[0], rows):
        i, j = bounds_meet(bounds1[start : start + rows], bounds2).nonzero(as_tuple=True)
        for part_i, part_j in zip(i.split(PAIRS_PER_CLIP), j.split(PAIRS_PER_CLIP)):
            yield part_i + start, part_j


def overlap_matrix(bounds1: Tensor, bounds2: Tensor, overlap: PairOverlap) -> Tensor:
    """Matrix (M, N) of ``overlap(i, j)`` where the bounds meet and 0 elsewhere.

    Args:
        bounds1, bounds2: axis-aligned bounds (M, 4), (N, 4); a pair that does not meet must have overlap 0.
        overlap: exact overlap (P,) of the pairs with indices i (P,), j (P,).
    """
    num_rows, num_columns = bounds1.shape[0], bounds2.shape[0]
    # The empty sums tie the result to its inputs, so that backward works when no pair meets.
    flat = bounds1.new_zeros(num_rows * num_columns) + (bounds1[:0].sum() + bounds2[:0].sum())
    for i, j in meeting_pairs(bounds1.detach(), bounds2.detach()):
        flat[i * num_columns + j] = overlap(i, j)
    return flat.view(num_rows, num_columns)


def overlap_aligned(count: int, device: torch.device, overlap: PairOverlap) -> Tensor:
    """Vector (count,) of ``overlap(k, k)``, computed a bounded number at a time."""
    index = torch.arange(count, device=device)
    return torch.cat([overlap(part, part) for part in index.split(PAIRS_PER_CLIP)])


def check_aligned(name1: str, count1: int, name2: str, count2: int) -> None:
    """Raise unless both sides of an aligned call have the same length."""
    if count1 != count2:
        raise InputError(
            f'aligned=True compares row by row, but {name1} has {count1} rows and {name2} has {count2}; '
            f'pass as many of both, or aligned=False for the matrix'
        )

"""Which points lie inside which boxes; the boundary counts as inside, up to rounding."""

import torch
from torch import Tensor

from ._compute import check_last, compute_dtype


def rboxes_contain(rboxes: Tensor, points: Tensor) -> Tensor:
    """Whether each box holds its point, with broadcasting.

    Args:
        rboxes: (..., 5) boxes, pixels and radians.
        points: (..., 2) points, pixels.

    Returns:
        (...) bool, the broadcast leading dimensions. A box of zero area holds the points on its segment.

    Raises:
        InputError: If a last dimension does not fit.
    """
    check_last('rboxes', rboxes, 5)
    check_last('points', points, 2)
    dtype = compute_dtype(rboxes, points)
    cx, cy, w, h, theta = rboxes.to(dtype).unbind(-1)
    x, y = points.to(dtype).unbind(-1)
    cos, sin = theta.cos(), theta.sin()
    dx, dy = x - cx, y - cy
    return ((dx * cos + dy * sin).abs() <= w / 2) & ((dy * cos - dx * sin).abs() <= h / 2)


def points_in_rboxes(points: Tensor, rboxes: Tensor) -> Tensor:
    """Which of P points lie inside which of M rotated boxes.

    Args:
        points: (P, 2) points, pixels.
        rboxes: (M, 5) boxes, pixels and radians.

    Returns:
        (P, M) bool.

    Raises:
        InputError: If a last dimension does not fit.
    """
    check_last('points', points, 2)
    return rboxes_contain(rboxes, points[:, None, :])


def qboxes_contain(qboxes: Tensor, points: Tensor) -> Tensor:
    """Whether each quadrilateral holds its point, with broadcasting.

    Convex or not, in either order of corners; of a self-intersecting one, both triangles count.

    Args:
        qboxes: (..., 8) corners, pixels.
        points: (..., 2) points, pixels.

    Returns:
        (...) bool, the broadcast leading dimensions.

    Raises:
        InputError: If a last dimension does not fit.
    """
    check_last('qboxes', qboxes, 8)
    check_last('points', points, 2)
    dtype = compute_dtype(qboxes, points)
    start = qboxes.to(dtype).unflatten(-1, (4, 2))  # (..., 4, 2)
    end = start.roll(-1, dims=-2)
    point = points.to(dtype)[..., None, :]
    (x1, y1), (x2, y2), (x, y) = start.unbind(-1), end.unbind(-1), point.unbind(-1)
    side = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)  # which side of the edge the point is on
    # A ray to the right crosses an edge that spans y and lies to the right; an odd number of crossings is inside.
    crosses = ((y1 > y) & (y2 <= y) & (side < 0)) | ((y1 <= y) & (y2 > y) & (side > 0))  # none for NaN
    within = (torch.minimum(x1, x2) <= x) & (x <= torch.maximum(x1, x2))
    within = within & (torch.minimum(y1, y2) <= y) & (y <= torch.maximum(y1, y2))
    return (crosses.sum(-1) % 2 == 1) | ((side == 0) & within).any(-1)


def points_in_qboxes(points: Tensor, qboxes: Tensor) -> Tensor:
    """Which of P points lie inside which of M quadrilaterals.

    Args:
        points: (P, 2) points, pixels.
        qboxes: (M, 8) corners, pixels.

    Returns:
        (P, M) bool.

    Raises:
        InputError: If a last dimension does not fit.
    """
    check_last('points', points, 2)
    return qboxes_contain(qboxes, points[:, None, :])

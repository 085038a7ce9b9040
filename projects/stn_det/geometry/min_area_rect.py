"""Rectangle of least area around a few points, batched.

The rectangle of least area around a convex polygon has a side along an edge of the polygon (H. Freeman, R. Shapira,
"Determining the minimum-area encasing rectangle for an arbitrary closed curve", https://doi.org/10.1145/360881.360919).
Every edge of the hull of four points joins two of them, so the six pairs hold all candidates. A pair that is no edge of
the hull gives a rectangle that encloses the points too, only not a smaller one: no hull has to be found.
"""

import torch
from torch import Tensor

_PAIR_FIRST = (0, 1, 2, 3, 0, 1)
_PAIR_SECOND = (1, 2, 3, 0, 2, 3)


def min_area_rboxes(corners: Tensor) -> Tensor:
    """Rectangles of least area around four points each.

    Args:
        corners: (..., 4, 2) points, float32 or float64, pixels.

    Returns:
        (..., 5) boxes with theta along the chosen pair of points, in no canonical form; NaN where a point is NaN.
    """
    origin = corners.mean(dim=-2, keepdim=True)
    points = corners - origin  # near 0, so that products keep their digits far from the image's corner
    cos, sin, length = _directions(points)  # (..., 6) each
    along = points[..., None, :, 0] * cos[..., None] + points[..., None, :, 1] * sin[..., None]  # (..., 6, 4)
    across = points[..., None, :, 1] * cos[..., None] - points[..., None, :, 0] * sin[..., None]
    low_u, high_u = along.amin(-1), along.amax(-1)  # (..., 6)
    low_v, high_v = across.amin(-1), across.amax(-1)
    w, h = high_u - low_u, high_v - low_v
    best = _smallest(w, h, length, corners)
    mid_u, mid_v = (low_u + high_u) / 2, (low_v + high_v) / 2
    centre_x = origin[..., 0] + mid_u * cos - mid_v * sin  # (..., 6)
    centre_y = origin[..., 1] + mid_u * sin + mid_v * cos
    candidates = torch.stack([centre_x, centre_y, w, h, torch.atan2(sin, cos)], dim=-1)  # (..., 6, 5)
    index = best[..., None, None].expand(*best.shape, 1, 5)
    return candidates.gather(-2, index).squeeze(-2)


def _directions(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit directions and lengths of the six pairs; the x axis and 0 for two equal points.

    The x axis gives a rectangle that encloses the points as well, so it does no harm as one more candidate.
    """
    pairs = points[..., _PAIR_SECOND, :] - points[..., _PAIR_FIRST, :]  # (..., 6, 2)
    x, y = pairs.unbind(-1)
    equal = (x == 0) & (y == 0)
    x = x.masked_fill(equal, 1)
    length = torch.hypot(x, y)
    return x / length, y / length, length.detach().masked_fill(equal, 0)


def _smallest(w: Tensor, h: Tensor, length: Tensor, corners: Tensor) -> Tensor:
    """Index of the candidate of least area, the longest pair among those that rounding cannot tell apart.

    The corners of a rectangle give the same area along both of its sides, up to rounding; the long side carries the
    angle with the smaller error.
    """
    area = (w * h).detach()
    rounding = 4 * torch.finfo(area.dtype).eps * corners.detach().abs().amax(dim=(-2, -1))[..., None] * (w + h).detach()
    least = area <= (area + rounding).amin(dim=-1, keepdim=True)
    return torch.where(least, length, -1).argmax(dim=-1)

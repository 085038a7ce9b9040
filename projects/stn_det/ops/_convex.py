"""Convex quads: hull of four points and the intersection area of two convex polygons.

Clipping by a half-plane here projects the outer corners onto its line instead of dropping them and inserts every
crossing point. The projection is a retraction of the plane onto the half-plane, so winding numbers inside it are kept
and the signed area of the result is that of the clipped polygon. The number of corners doubles with each line, but no
corner is classified or compacted and no decision needs a tolerance.

Letters: V polygon corners, P pairs; corner axis first.
"""

from typing import Any

import torch
from torch import Tensor

from stn_det.ops._clip import shoelace


def hull_of_quads(quads: Tensor) -> Tensor:
    """Convex hulls (M, 8) of the corners of quads (M, 8), clockwise on screen; a triangle repeats a corner."""
    corners = quads.view(-1, 4, 2)
    with torch.no_grad():
        about = corners - corners.mean(1, keepdim=True)
        order = torch.atan2(about[..., 1], about[..., 0]).argsort(1)  # (M, 4)
        x, y = about.gather(1, order[..., None].expand(-1, -1, 2)).unbind(-1)
        before_x, before_y = x - x.roll(1, 1), y - y.roll(1, 1)
        after_x, after_y = before_x.roll(-1, 1), before_y.roll(-1, 1)
        dented = before_x * after_y - before_y * after_x < 0
        order = torch.where(dented, order.roll(1, 1), order)
    return corners.gather(1, order[..., None].expand(-1, -1, 2)).reshape(-1, 8)


def _clip_half_plane(x: Tensor, y: Tensor, ax: Tensor, ay: Tensor, bx: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
    """Retract polygons (V, P) onto the side right of a -> b on screen; returns (2V, P)."""
    along_x, along_y = bx - ax, by - ay
    length2 = along_x * along_x + along_y * along_y
    side = along_x * (y - ay) - along_y * (x - ax)
    next_x, next_y, next_side = x.roll(-1, 0), y.roll(-1, 0), side.roll(-1, 0)
    excess = side.clamp(max=0) / torch.where(length2 > 0, length2, torch.ones_like(length2))
    kept_x, kept_y = x + excess * along_y, y - excess * along_x
    crosses = (side > 0) != (next_side > 0)
    t = side / torch.where(crosses, side - next_side, torch.ones_like(side))
    crossing_x = torch.where(crosses, x + t * (next_x - x), kept_x)
    crossing_y = torch.where(crosses, y + t * (next_y - y), kept_y)
    return torch.stack([kept_x, crossing_x], 1).flatten(0, 1), torch.stack([kept_y, crossing_y], 1).flatten(0, 1)


def _moments_inside(x: Tensor, y: Tensor, clip_x: Tensor, clip_y: Tensor) -> tuple[Tensor, Tensor]:
    """Derivative of the intersection area to the corners (4, P), from the part of each edge inside the clip polygon."""
    dx, dy = x.roll(-1, 0) - x, y.roll(-1, 0) - y
    enter, leave = torch.zeros_like(x), torch.ones_like(x)
    for k in range(clip_x.shape[0]):
        along_x, along_y = clip_x[k - 1] - clip_x[k - 2], clip_y[k - 1] - clip_y[k - 2]
        side = along_x * (y - clip_y[k - 2]) - along_y * (x - clip_x[k - 2])
        rate = along_x * dy - along_y * dx
        t = (-side / torch.where(rate == 0, torch.ones_like(rate), rate)).clamp_(0, 1)
        outside = (rate == 0) & (side <= 0) & ((along_x != 0) | (along_y != 0))
        enter = torch.maximum(enter, torch.where(rate > 0, t, outside.to(t.dtype)))
        leave = torch.minimum(leave, torch.where(rate < 0, t, torch.ones_like(t)))
    leave = torch.maximum(leave, enter)
    to_end = 0.5 * (leave * leave - enter * enter)
    to_start = (leave - enter) - to_end
    return dy * to_start + (dy * to_end).roll(1, 0), -(dx * to_start + (dx * to_end).roll(1, 0))


class _ConvexIntersection(torch.autograd.Function):
    """Intersection area of convex polygons with positive shoelace area, with the analytic derivative."""

    @staticmethod
    def forward(ctx: Any, x1: Tensor, y1: Tensor, x2: Tensor, y2: Tensor) -> Tensor:
        x, y = x1, y1
        for k in range(x2.shape[0]):
            x, y = _clip_half_plane(x, y, x2[k - 1], y2[k - 1], x2[k], y2[k])
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(*_moments_inside(x1, y1, x2, y2), *_moments_inside(x2, y2, x1, y1))
        return shoelace(x, y)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return tuple(grad * partial for partial in ctx.saved_tensors)


def convex_overlap(hulls1: Tensor, hulls2: Tensor, mode: str) -> Tensor:
    """IoU or IoF (P,) of pairs of hulls (8, P) from ``hull_of_quads``."""
    origin_x, origin_y = hulls1[0::2].mean(0), hulls1[1::2].mean(0)
    x1, y1 = hulls1[0::2] - origin_x, hulls1[1::2] - origin_y
    x2, y2 = hulls2[0::2] - origin_x, hulls2[1::2] - origin_y
    area1, area2 = shoelace(x1, y1), shoelace(x2, y2)
    intersection = intersection_of_hulls(x1, y1, x2, y2)
    whole = area1 if mode == 'iof' else area1 + area2 - intersection
    return intersection / torch.where(whole > 0, whole, torch.ones_like(whole))


def intersection_of_hulls(x1: Tensor, y1: Tensor, x2: Tensor, y2: Tensor) -> Tensor:
    """Area (P,) that convex polygons (V, P) and (W, P), clockwise on screen and near the origin, have in common."""
    intersection: Tensor = _ConvexIntersection.apply(x1, y1, x2, y2)
    # Below the rounding error of the products of coordinates an intersection is not told from none.
    residue = 8 * torch.finfo(x1.dtype).eps * _reach(x1, y1) * _reach(x2, y2)
    intersection = torch.where(intersection > residue, intersection, 0.0)
    return torch.minimum(intersection, torch.minimum(shoelace(x1, y1), shoelace(x2, y2)).clamp(min=0))


def _reach(x: Tensor, y: Tensor) -> Tensor:
    """Largest coordinate (P,) of polygons (V, P), without gradient."""
    return torch.maximum(x.detach().abs().amax(0), y.detach().abs().amax(0))

"""Batched convex hulls and clipping of small polygons (at most some 20 points), differentiable in the coordinates."""

import torch
from torch import Tensor


def shoelace(polygons: Tensor) -> Tensor:
    """Signed area of polygons (..., P, 2): positive if x turns towards y. Repeated vertices change nothing."""
    following = polygons.roll(-1, -2)
    return 0.5 * _cross(polygons, following).sum(-1)


def hull_order(points: Tensor) -> Tensor:
    """Indices (N, P) of the hull of points (N, P, 2) with positive area; the first index fills what is left.

    An edge i -> j belongs to the hull if no point lies on its negative side. Of several j on one line the farthest is
    taken, so that points within a side are passed over, and equal points are known by the first of them.
    """
    number = points.shape[1]
    offset = points[:, None] - points[:, :, None]  # (N, i, j, 2), from i to j
    side = _cross(offset[:, :, :, None], offset[:, :, None])  # (N, i, j, k)
    distance = offset.square().sum(-1)
    edge = (side >= 0).all(-1) & (distance > 0)
    successor = torch.where(edge, distance, -1).argmax(-1)
    first_equal = (distance == 0).to(torch.uint8).argmax(-1)
    successor = first_equal.gather(1, successor)
    # The lexicographically smallest point is a corner of the hull, never within a side.
    leftmost = points[..., 0] == points[..., 0].amin(1, keepdim=True)
    start = torch.where(leftmost, points[..., 1], torch.inf).argmin(1, keepdim=True)
    start = first_equal.gather(1, start)
    order, current = [start], start
    done = torch.zeros_like(start, dtype=torch.bool)
    for _ in range(number - 1):
        current = successor.gather(1, current)
        done = done | (current == start)
        current = torch.where(done, start, current)
        order.append(current)
    return torch.cat(order, 1)


def clip_area(polygons: Tensor, windows: Tensor) -> Tensor:
    """Area of convex polygons (N, P, 2) within convex windows (N, Q, 2), both of positive orientation.

    Sutherland-Hodgman clipping, a side of the window at a time. Windows without area give 0.
    """
    area = shoelace(windows)
    following = windows.roll(-1, 1)
    for side in range(windows.shape[1]):
        polygons = _clip(polygons, windows[:, side], following[:, side])
    return torch.where(area > 0, shoelace(polygons), 0).clamp(min=0)


def _clip(polygons: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Keep the part of (N, P, 2) on the positive side of the line from start to end; the result has P + 1 vertices."""
    depth = _cross((end - start)[:, None], polygons - start[:, None])  # (N, P), positive inside
    following, depth_after = polygons.roll(-1, 1), depth.roll(-1, 1)
    inside = depth >= 0
    crossing = inside != (depth_after >= 0)
    difference = torch.where(crossing, depth - depth_after, 1)
    point = polygons + (depth / difference)[..., None] * (following - polygons)
    vertices = torch.stack((polygons, point), 2).flatten(1, 2)  # (N, 2 * P, 2), in order
    valid = torch.stack((inside, crossing), 2).flatten(1)
    order = (~valid).to(torch.uint8).argsort(dim=1, stable=True)[:, : polygons.shape[1] + 1]
    slot = torch.arange(order.shape[1], device=order.device)
    # Free slots repeat the first vertex; with none valid all slots hold one point and the area is zero.
    order = torch.where(slot < valid.sum(1, keepdim=True), order, order[:, :1])
    return vertices.gather(1, order[..., None].expand(-1, -1, 2))


def _cross(first: Tensor, second: Tensor) -> Tensor:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]

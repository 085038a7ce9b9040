"""Point sets, their hulls and polygons, with the call signatures of mmcv's extension. Computed in float64."""

from collections.abc import Callable

import torch
from torch import Tensor

from .hull import clip_area, hull_order, shoelace

_PAIRS_AT_ONCE = 65536  # these bound the temporary memory to some 100 MB
_SETS_AT_ONCE = 4096


def convex_iou(pointsets: Tensor, polygons: Tensor, ious: Tensor) -> None:
    """Write the IoU of the hulls of point sets (N, 18) with quadrilaterals (K, 8) into ``ious`` (N, K)."""
    points, quads = _points(pointsets), _points(polygons)
    ious.zero_()
    rows, columns = _touching(points, quads).nonzero(as_tuple=True)
    used, rows = rows.unique(return_inverse=True)
    hulls = torch.cat([_take(part, hull_order(part)) for part in points[used].split(_SETS_AT_ONCE)])
    areas, quad_areas = shoelace(hulls).abs(), shoelace(quads).abs()
    for row, column in zip(rows.split(_PAIRS_AT_ONCE), columns.split(_PAIRS_AT_ONCE)):
        intersection = _intersection(hulls[row], quads[column])
        union = areas[row] + quad_areas[column] - intersection
        ious[used[row], column] = (intersection / _positive(union)).to(ious.dtype)


def convex_giou(pointsets: Tensor, polygons: Tensor, output: Tensor) -> None:
    """GIoU of the hull of each point set (N, 18) with its quadrilateral (N, 8), and the gradient to the points.

    ``output`` is (N, 19), written in place: 18 derivatives, then the GIoU (https://arxiv.org/abs/1902.09630).
    """
    with torch.enable_grad():
        points = _points(pointsets).detach().requires_grad_()
        giou = _giou(points, _points(polygons).detach())
    (grad,) = torch.autograd.grad(giou.sum(), points)
    output[:, :-1] = grad.flatten(1).to(output.dtype)
    output[:, -1] = giou.detach().to(output.dtype)


def min_area_polygons(pointsets: Tensor, polygons: Tensor) -> None:
    """Write the smallest rectangle (N, 8) around each point set (N, 18) into ``polygons``.

    One side of it lies along a side of the hull, so every pair of points gives a candidate direction; pairs that are no
    side of the hull give rectangles that are no smaller.
    """
    for part, target in zip(_points(pointsets).split(_SETS_AT_ONCE), polygons.split(_SETS_AT_ONCE)):
        target.copy_(_smallest_rectangle(part).flatten(1))


def points_in_polygons_forward(points: Tensor, polygons: Tensor, output: Tensor) -> None:
    """Write 1 where point (P, 2) lies inside quadrilateral (K, 8), else 0, into ``output`` (P, K); even-odd rule."""
    corners = _points(polygons)
    following = corners.roll(-1, 1)
    x, y = points.double()[:, None, None].unbind(-1)  # (P, 1, 1)
    crosses = (corners[..., 1] > y) != (following[..., 1] > y)  # (P, K, 4)
    edge = following - corners
    at = corners[..., 0] + (y - corners[..., 1]) * edge[..., 0] / torch.where(edge[..., 1] == 0, 1, edge[..., 1])
    output.copy_((crosses & (at > x)).sum(-1) % 2)


def diff_iou_rotated_sort_vertices_forward(vertices: Tensor, mask: Tensor, num_valid: Tensor) -> Tensor:
    """Order the vertices of the intersection of two rectangles around their mean.

    Vertices that coincide count once, so that shared corners and equal boxes give a simple polygon.

    Args:
        vertices: (B, N, 24, 2) relative to the mean of the valid ones: 4 + 4 corners, 16 crossings of sides.
        mask: (B, N, 24) bool, the valid ones.
        num_valid: (B, N), how many are valid.

    Returns:
        (B, N, 9) int32: the polygon, its first vertex again, then an invalid crossing, whose coordinates are zero.
    """
    angle = torch.atan2(vertices[..., 1], vertices[..., 0])
    angle = torch.where(mask, torch.where(angle < 0, angle + 2 * torch.pi, angle), torch.inf)
    order = angle.argsort(dim=-1, stable=True)  # valid ones first
    ordered = vertices.gather(2, order[..., None].expand_as(vertices))
    scale = (vertices.abs() * mask[..., None]).amax((2, 3))[..., None]
    step = (ordered - ordered.roll(1, 2)).abs().amax(-1)
    repeated = step <= 1e-6 * scale
    repeated[..., 0] = False
    keep = mask.gather(2, order) & ~repeated
    order = order.gather(2, (~keep).to(torch.uint8).argsort(dim=-1, stable=True))[..., :9]
    count = keep.sum(-1, keepdim=True).clamp(max=8)
    invalid = ~mask[..., 8:]
    padding = invalid.to(torch.uint8).argmax(-1, keepdim=True) + 8
    slot = torch.arange(9, device=vertices.device)
    polygon = torch.where(slot < count, order, torch.where(slot == count, order[..., :1], padding))
    return torch.where(num_valid[..., None] < 3, padding, polygon).int()


def _smallest_rectangle(points: Tensor) -> Tensor:
    """Corners (N, 4, 2) of the rectangle around points (N, P, 2)."""
    first, second = torch.triu_indices(points.shape[1], points.shape[1], 1, device=points.device)
    edge = points[:, second] - points[:, first]  # (N, pairs, 2)
    angle = torch.atan2(edge[..., 1], edge[..., 0]) % (torch.pi / 2)
    axes = torch.stack((angle.cos(), angle.sin(), -angle.sin(), angle.cos()), -1).unflatten(-1, (2, 2))
    along = torch.einsum('npax,nkx->npak', axes, points)  # coordinates of each point in each candidate's frame
    low, high = along.amin(-1), along.amax(-1)
    area = (high - low).prod(-1)
    best = area.argmin(1)
    rows = torch.arange(len(points), device=points.device)
    low, high, axes = low[rows, best], high[rows, best], axes[rows, best]
    corners = torch.stack(
        (
            torch.stack((high[:, 0], low[:, 1]), -1),
            low,
            torch.stack((low[:, 0], high[:, 1]), -1),
            high,
        ),
        1,
    )
    return corners @ axes


def _points(flat: Tensor) -> Tensor:
    return flat.double().unflatten(-1, (-1, 2))


def _take(points: Tensor, order: Tensor) -> Tensor:
    return points.gather(1, order[..., None].expand(-1, -1, 2))


def _positive(area: Tensor) -> Tensor:
    return area.clamp(min=1e-12)


def _touching(first: Tensor, second: Tensor) -> Tensor:
    """Pairs (N, K) whose bounding boxes overlap."""
    low = torch.maximum(first.amin(1)[:, None], second.amin(1))
    high = torch.minimum(first.amax(1)[:, None], second.amax(1))
    return (high > low).all(-1)


def _intersection(hulls: Tensor, quads: Tensor) -> Tensor:
    """Area common to convex polygons (N, P, 2) and simple quadrilaterals (N, 4, 2).

    The quadrilateral is the signed sum of two triangles, which is exact for concave ones too.
    """
    total = hulls.new_zeros(len(hulls))
    for corners in ([0, 1, 2], [0, 2, 3]):
        triangle = quads[:, corners]
        signed = shoelace(triangle)
        triangle = torch.where(signed[:, None, None] < 0, triangle.flip(1), triangle)
        total = total + clip_area(hulls, triangle) * signed.sign()
    return total.abs()


def _giou(points: Tensor, quads: Tensor) -> Tensor:
    hulls = _take(points, hull_order(points.detach()))
    intersection = _intersection(hulls, quads)
    union = shoelace(hulls).abs() + shoelace(quads).abs() - intersection
    everything = torch.cat((points, quads), 1)
    enclosing = shoelace(_take(everything, hull_order(everything.detach()))).abs()
    return intersection / _positive(union) - (enclosing - union) / _positive(enclosing)


OPERATORS: dict[str, Callable[..., object]] = {
    'convex_iou': convex_iou,
    'convex_giou': convex_giou,
    'min_area_polygons': min_area_polygons,
    'points_in_polygons_forward': points_in_polygons_forward,
    'diff_iou_rotated_sort_vertices_forward': diff_iou_rotated_sort_vertices_forward,
}

"""IoU and generalised IoU of the convex hulls of small point sets with quads, for losses.

Generalized Intersection over Union, https://arxiv.org/abs/1902.09630; of convex hulls of point sets in "Beyond
Bounding-Box: Convex-hull Feature Adaptation for Oriented and Densely Packed Object Detection" (CVPR 2021). There is no
kernel: the function is made of differentiable parts in PyTorch and runs on any device.

Letters: M pairs, K points of a set; point axis first inside.
"""

import torch
from torch import Tensor

from stn_det.checks import check_float_shape, check_same_device, compute_dtype
from stn_det.errors import InputError
from stn_det.ops._clip import shoelace
from stn_det.ops._convex import intersection_of_hulls
from stn_det.ops._pairs import PAIRS_PER_CLIP, check_aligned, usable
from stn_det.ops.reference.rotated_iou_giou import hull_area


def convex_giou(points: Tensor, quads: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and GIoU of the hull of row k of the point sets with the hull of row k of the quads.

    The order of the points does not matter. Only corners of the hulls have a gradient. A pair that is not finite, and
    one whose common hull has no area, has IoU 0, GIoU -1 and gradient 0. Half-precision inputs are computed in float32
    and the results are float32.

    Args:
        points: (M, 2K) as (x1, y1, ..., xK, yK), K at least 3, pixels.
        quads: (M, 8) as (x1, y1, ..., x4, y4), same frame.

    Returns:
        IoU (M,) in [0, 1] and GIoU (M,) in [-1, 1], both differentiable once to both inputs.

    Raises:
        InputError: for a wrong shape, dtype, device or unequal lengths.
    """
    check_float_shape('points', points, ('M', '2K'))
    check_float_shape('quads', quads, ('M', 8))
    check_same_device(points=points, quads=quads)
    check_aligned('points', points.shape[0], 'quads', quads.shape[0])
    if points.shape[1] % 2 or points.shape[1] < 6:
        raise InputError(
            f'points has shape {tuple(points.shape)}, expected (M, 2K) with x and y of K >= 3 points a row'
        )
    dtype = compute_dtype(points, quads)
    parts = zip(points.to(dtype).split(PAIRS_PER_CLIP), quads.to(dtype).split(PAIRS_PER_CLIP))
    iou, giou = zip(*(_convex_giou(first, second) for first, second in parts))
    return torch.cat(iou), torch.cat(giou)


def _convex_giou(points: Tensor, quads: Tensor) -> tuple[Tensor, Tensor]:
    good = (usable(points) & usable(quads))[:, None]
    points, quads = (torch.where(good, rows, rows.new_zeros(())).t() for rows in (points, quads))
    # Overlaps do not change with a common shift: about their middle no digits are lost far from the origin.
    middle_x, middle_y = quads[0::2].detach().mean(0), quads[1::2].detach().mean(0)
    x1, y1 = _hull(points[0::2] - middle_x, points[1::2] - middle_y)
    x2, y2 = _hull(quads[0::2] - middle_x, quads[1::2] - middle_y)
    area1, area2 = shoelace(x1, y1).clamp(min=0), shoelace(x2, y2).clamp(min=0)
    intersection = intersection_of_hulls(x1, y1, x2, y2)
    union = area1 + area2 - intersection
    x, y = torch.cat([x1, x2]), torch.cat([y1, y2])
    hull = torch.maximum(hull_area(x - x.detach().mean(0), y - y.detach().mean(0)), union)
    iou = intersection / torch.where(union > 0, union, 1.0)
    spanned = hull > 0
    spare = (hull - union) / torch.where(spanned, hull, 1.0)
    return iou, torch.where(spanned, iou - spare, -1.0)


def _hull(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Corners (K, M) of the convex hulls of points (K, M), clockwise on screen; the first fills what is left."""
    order = hull_order(x, y)
    return x.gather(0, order), y.gather(0, order)


@torch.no_grad()
def hull_order(x: Tensor, y: Tensor) -> Tensor:
    """Indices (K, M) of the corners of the convex hulls of points (K, M), clockwise on screen.

    The largest polygon that visits some points in the order of their angle is the hull, as in ``hull_area``, whose
    dynamic program this is with the way back. The first corner stands in every place that is left over.
    """
    x, y = x - x.mean(0), y - y.mean(0)
    by_angle = torch.atan2(y, x).argsort(0)
    radius = (x * x + y * y).gather(0, by_angle)
    positions = torch.arange(x.shape[0], device=x.device)[:, None]
    order = by_angle.gather(0, (positions + radius.argmax(0)) % x.shape[0])  # the farthest point is a corner
    x, y = x.gather(0, order), y.gather(0, order)
    best, before = [torch.zeros_like(x[0])], [torch.zeros_like(order[0])]
    for j in range(1, x.shape[0]):
        area, last = (torch.stack(best) + x[:j] * y[j] - x[j] * y[:j]).max(0)
        best.append(area)
        before.append(last)
    way = torch.stack(before)
    corner = (torch.stack(best) + x * y[0] - x[0] * y).argmax(0)
    corners = [corner]
    for _ in range(x.shape[0] - 1):
        corner = way.gather(0, corner[None])[0]
        corners.append(corner)
    return order.gather(0, torch.stack(corners[::-1]))

"""IoU and generalised IoU of pairs of rotated boxes in plain PyTorch, on any device."""

import torch
from torch import Tensor

from stn_det.ops._clip import rbox_corners_in_frame
from stn_det.ops._pairs import usable
from stn_det.ops.reference.box_iou_rotated import rotated_intersection


def rotated_iou_giou_reference(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`stn_det.ops.rotated_iou_giou` after its checks; both sets in the dtype to compute in."""
    finite = usable(boxes1) & usable(boxes2)
    first, second = _columns(boxes1, finite), _columns(boxes2, finite)
    intersection = rotated_intersection(first, second)
    union = first[2] * first[3] + second[2] * second[3] - intersection
    hull = torch.maximum(hull_area(*_corners_about_midpoint(first, second)), union)
    iou = intersection / torch.where(union > 0, union, torch.ones_like(union))
    spanned = hull > 0
    spare = (hull - union) / torch.where(spanned, hull, torch.ones_like(hull))
    return iou, torch.where(spanned, iou - spare, -torch.ones_like(iou))


def _columns(boxes: Tensor, keep: Tensor) -> Tensor:
    columns = torch.where(keep[:, None], boxes, boxes.new_zeros(())).t()
    return torch.cat([columns[:2], columns[2:4].clamp(min=0), columns[4:]])


def _corners_about_midpoint(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """The 8 corners (8, P) in the axes of box 1 about the point half-way between the centres."""
    half_w, half_h = 0.5 * boxes1[2], 0.5 * boxes1[3]
    x, y = rbox_corners_in_frame(boxes1, boxes2)
    x = torch.cat([torch.stack([-half_w, half_w, half_w, -half_w]), x])
    y = torch.cat([torch.stack([-half_h, -half_h, half_h, half_h]), y])
    return x - x.mean(0), y - y.mean(0)


def hull_area(x: Tensor, y: Tensor) -> Tensor:
    """Area (P,) of the convex hull of points (K, P) whose mean is the origin.

    Among all polygons that visit some of the points in the order of their angle about an inner point, the hull is the
    largest. A dynamic program over that order finds it. Unlike a scan that decides which point to drop, a maximum of
    areas has no decision that rounding can turn: repeated and collinear points need no care.
    """
    with torch.no_grad():
        by_angle = torch.atan2(y, x).argsort(0)
        radius = (x * x + y * y).gather(0, by_angle)
        positions = torch.arange(x.shape[0], device=x.device)[:, None]
        # The farthest point surely is a corner of the hull, so the tour may begin and end there.
        order = by_angle.gather(0, (positions + radius.argmax(0)) % x.shape[0])
    x, y = x.gather(0, order), y.gather(0, order)
    best = [torch.zeros_like(x[0])]
    for j in range(1, x.shape[0]):
        reached = torch.stack(best)  # (j, P)
        best.append((reached + x[:j] * y[j] - x[j] * y[:j]).amax(0))
    reached = torch.stack(best[1:])
    return 0.5 * (reached + x[1:] * y[0] - x[0] * y[1:]).amax(0)

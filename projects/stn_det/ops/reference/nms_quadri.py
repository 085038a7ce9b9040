"""Non-maximum suppression of convex quads in plain PyTorch, on any device."""

import torch
from torch import Tensor

from stn_det.ops._clip import shoelace
from stn_det.ops._convex import convex_overlap
from stn_det.ops._pairs import quad_bounds
from stn_det.ops._suppression import suppress


def nms_quadri_reference(
    hulls: Tensor, proper: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None
) -> Tensor:
    """:func:`stn_det.ops.nms_quadri` of clean hulls (M, 8); quads that are not ``proper`` (M,) take no part."""
    columns, bounds = hulls.t().contiguous(), quad_bounds(hulls)
    sides, areas = bounds.t().contiguous(), shoelace(columns[0::2], columns[1::2])

    def overlap(i: Tensor, j: Tensor) -> Tensor:
        return convex_overlap(columns.index_select(1, i), columns.index_select(1, j), 'iou')

    def may_exceed(i: Tensor, j: Tensor) -> Tensor:
        first, second = sides.index_select(1, i), sides.index_select(1, j)
        width = torch.minimum(first[2], second[2]) - torch.maximum(first[0], second[0])
        height = torch.minimum(first[3], second[3]) - torch.maximum(first[1], second[1])
        # The intersection lies within both bounds, the union is at least the larger quad.
        shared = torch.minimum(width * height, torch.minimum(areas[i], areas[j]))
        return shared * (1 + 1e-5) >= iou_threshold * torch.maximum(areas[i], areas[j])

    return suppress(bounds, scores, labels, proper, overlap, iou_threshold, may_exceed)

"""Non-maximum suppression of convex quads, class-aware and exact."""

import torch
from torch import Tensor

from stn_det.checks import compute_dtype
from stn_det.ops._clip import shoelace
from stn_det.ops._convex import convex_overlap
from stn_det.ops._pairs import quad_bounds, usable
from stn_det.ops._suppression import check_nms_arguments, suppress
from stn_det.ops.quadri_iou import clean_hulls


@torch.no_grad()
def nms_quadri(quads: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None) -> Tensor:
    """Keep the best of quads that overlap.

    Each quad stands for the convex hull of its corners. Quads are visited by falling score, ties by index; one is
    dropped when a kept quad of the same label overlaps it by strictly more than ``iou_threshold``. Quads that are not
    finite and quads with a NaN score are never kept; a quad without area overlaps nothing.

    Args:
        quads: (M, 8) as (x1, y1, ..., x4, y4), pixels.
        scores: (M,) floating point.
        iou_threshold: in [0, 1].
        labels: (M,) integers, or None to let all quads compete.

    Returns:
        Indices (K,) int64 of the kept quads by falling score.

    Raises:
        InputError: for a wrong shape, dtype, device or threshold.
    """
    check_nms_arguments('quads', quads, 8, scores, iou_threshold, labels)
    quads = quads.to(compute_dtype(quads))
    hulls = clean_hulls(quads)
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

    return suppress(bounds, scores, labels, usable(quads), overlap, iou_threshold, may_exceed)

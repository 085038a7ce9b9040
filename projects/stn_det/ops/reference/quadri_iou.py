"""Overlap of convex quads in plain PyTorch, on any device."""

from torch import Tensor

from stn_det.ops._convex import convex_overlap
from stn_det.ops._pairs import overlap_aligned, overlap_matrix, quad_bounds


def quadri_iou_reference(hulls1: Tensor, hulls2: Tensor, aligned: bool, mode: str) -> Tensor:
    """:func:`stn_det.ops.quadri_iou` of the clean hulls of its quads."""
    columns1, columns2 = hulls1.t().contiguous(), hulls2.t().contiguous()

    def overlap(i: Tensor, j: Tensor) -> Tensor:
        return convex_overlap(columns1.index_select(1, i), columns2.index_select(1, j), mode)

    if aligned:
        return overlap_aligned(hulls1.shape[0], hulls1.device, overlap)
    return overlap_matrix(quad_bounds(hulls1), quad_bounds(hulls2), overlap)

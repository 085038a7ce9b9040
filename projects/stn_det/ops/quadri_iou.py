"""Overlap of convex quads with convex quads (IoU or IoF), exact."""

import torch
from torch import Tensor

from stn_det.checks import check_choice, check_float_shape, check_same_device, compute_dtype
from stn_det.ops._convex import hull_of_quads
from stn_det.ops._library import is_compiled
from stn_det.ops._overlap import define_overlap
from stn_det.ops._pairs import check_aligned, usable
from stn_det.ops.reference.quadri_iou import quadri_iou_reference


def quadri_iou(quads1: Tensor, quads2: Tensor, aligned: bool = False, mode: str = 'iou') -> Tensor:
    """Overlap of quads.

    Each quad stands for the convex hull of its corners, so their order does not matter. One that is not finite or has
    no area overlaps nothing: 0, never NaN. Half-precision inputs are computed in float32 and the result is float32.

    Args:
        quads1: (M, 8) as (x1, y1, ..., x4, y4), pixels.
        quads2: (N, 8); N = M if ``aligned``.
        aligned: compare row k with row k instead of all with all.
        mode: ``'iou'`` for intersection over union, ``'iof'`` for intersection over the area of ``quads1``.

    Returns:
        (M, N), or (M,) if ``aligned``; values in [0, 1], differentiable once to both inputs.

    Raises:
        InputError: for a wrong shape, dtype, device or mode.
    """
    check_float_shape('quads1', quads1, ('M', 8))
    check_float_shape('quads2', quads2, ('N', 8))
    check_same_device(quads1=quads1, quads2=quads2)
    check_choice('mode', mode, ('iou', 'iof'))
    dtype = compute_dtype(quads1, quads2)
    hulls1, hulls2 = clean_hulls(quads1.to(dtype)), clean_hulls(quads2.to(dtype))
    if aligned:
        check_aligned('quads1', hulls1.shape[0], 'quads2', hulls2.shape[0])
    if not is_compiled('quadri_iou', hulls1.device):
        return quadri_iou_reference(hulls1, hulls2, aligned, mode)
    return torch.ops.stn_det.quadri_iou(hulls1, hulls2, aligned, mode == 'iof')


def clean_hulls(quads: Tensor) -> Tensor:
    """Hulls (M, 8) of quads (M, 8); those that are not finite become zeros, which also stops their gradient."""
    return hull_of_quads(torch.where(usable(quads)[:, None], quads, quads.new_zeros(())))


define_overlap('quadri_iou')

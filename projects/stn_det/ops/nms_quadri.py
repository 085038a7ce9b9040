"""Non-maximum suppression of convex quads, class-aware and exact."""

import torch
from torch import Tensor

from stn_det.checks import compute_dtype
from stn_det.ops._library import is_compiled
from stn_det.ops._nms import check_nms_arguments, claims, define_suppression, kept
from stn_det.ops._pairs import usable
from stn_det.ops.quadri_iou import clean_hulls
from stn_det.ops.reference.nms_quadri import nms_quadri_reference


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
        labels: (M,) integers, or None to let all quads compete. Use ``image * num_classes + label`` for a batch.

    Returns:
        Indices (K,) int64 of the kept quads by falling score.

    Raises:
        InputError: for a wrong shape, dtype, device or threshold.
    """
    check_nms_arguments('quads', quads, 8, scores, iou_threshold, labels)
    quads = quads.to(compute_dtype(quads))
    hulls, proper = clean_hulls(quads), usable(quads)
    if not is_compiled('nms_quadri', quads.device):
        return nms_quadri_reference(hulls, proper, scores, iou_threshold, labels)
    hulls = hulls.masked_fill(~proper[:, None], torch.nan)
    return kept(*claims('nms_quadri', hulls, scores, iou_threshold, labels))


define_suppression('nms_quadri')

"""Groups of detections: each kept box with the boxes that it suppresses."""

import torch
from torch import Tensor

from stn_det.checks import check_float_shape, check_fraction, compute_dtype
from stn_det.ops._library import is_compiled
from stn_det.ops._nms import claims
from stn_det.ops.reference.nms_match import nms_match_reference


@torch.no_grad()
def nms_match(dets: Tensor, iou_threshold: float) -> list[Tensor]:
    """Group axis-aligned detections by the kept box that suppresses them.

    The order of visits and the strict comparison are those of ``nms``. Detections that are not finite are in no group.

    Args:
        dets: (M, 5) as (x1, y1, x2, y2, score), pixels.
        iou_threshold: in [0, 1].

    Returns:
        One tensor of int64 indices per kept box, by falling score of the kept box; it begins with the kept box, the
        boxes that it suppresses follow by falling score.

    Raises:
        InputError: for a wrong shape, dtype or threshold.
    """
    check_float_shape('dets', dets, ('M', 5))
    check_fraction('iou_threshold', iou_threshold)
    dets = dets.to(compute_dtype(dets))
    if not is_compiled('nms', dets.device):
        return nms_match_reference(dets, iou_threshold)
    order, owner = claims('nms', dets[:, :4], dets[:, 4], iou_threshold, None)
    members = order[owner[order] >= 0]
    place = torch.empty_like(order).scatter_(0, order, torch.arange(order.numel(), device=order.device))
    groups, by_group = place[owner[members]].sort(stable=True)
    sizes = torch.unique_consecutive(groups, return_counts=True)[1]
    return list(members[by_group].split(sizes.tolist()))

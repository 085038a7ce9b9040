"""Groups of detections: each kept box with the boxes that it suppresses."""

import numpy as np
import torch
from torch import Tensor

from stn_det.checks import check_float_shape, check_fraction, compute_dtype
from stn_det.ops._pairs import usable
from stn_det.ops._suppression import greedy_walk, rank
from stn_det.ops.nms import hbox_iou


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
    boxes, columns = dets[:, :4], dets[:, :4].t().contiguous()

    def overlap(i: Tensor, j: Tensor) -> Tensor:
        return hbox_iou(columns.index_select(1, i), columns.index_select(1, j))

    order = rank(dets[:, 4], usable(boxes))
    owner = greedy_walk(boxes, None, order, overlap, iou_threshold)
    members = np.argsort(owner, kind='stable')
    kept = np.unique(owner)
    groups = np.split(members, np.searchsorted(owner[members], kept[1:])) if kept.size else []
    return [order[torch.from_numpy(group).to(order.device)] for group in groups]

"""Groups of detections in plain PyTorch, on any device."""

import numpy as np
import torch
from torch import Tensor

from stn_det.ops._pairs import usable
from stn_det.ops._suppression import greedy_walk, rank
from stn_det.ops.reference.nms import hbox_iou


def nms_match_reference(dets: Tensor, iou_threshold: float) -> list[Tensor]:
    """:func:`stn_det.ops.nms_match` after its checks; detections in the dtype to compute in."""
    boxes, columns = dets[:, :4], dets[:, :4].t().contiguous()

    def overlap(i: Tensor, j: Tensor) -> Tensor:
        return hbox_iou(columns.index_select(1, i), columns.index_select(1, j))

    order = rank(dets[:, 4], usable(boxes))
    owner = greedy_walk(boxes, None, order, overlap, iou_threshold)
    members = np.argsort(owner, kind='stable')
    kept = np.unique(owner)
    groups = np.split(members, np.searchsorted(owner[members], kept[1:])) if kept.size else []
    return [order[torch.from_numpy(group).to(order.device)] for group in groups]

"""Cost of matching by the exact overlap of rotated boxes."""

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from ...errors import ConfigError
from ...ops import box_iou_rotated, rotated_iou_giou
from ..losses.pairs import over_pairs
from .box_cost import BoxCost


def pairwise_rotated_giou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Generalised IoU of all pairs of boxes ``(M, 5)`` and ``(N, 5)``, ``(M, N)`` in [-1, 1]."""
    return over_pairs(_giou, boxes1, boxes2)


def _giou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    first, second = torch.broadcast_tensors(boxes1, boxes2)
    return rotated_iou_giou(first.reshape(-1, 5), second.reshape(-1, 5))[1].reshape(first.shape[:-1])


MODES = {'iou': box_iou_rotated, 'giou': pairwise_rotated_giou}


@TASK_UTILS.register_module()
class RotatedIoUCost(BoxCost):
    """Less the IoU or GIoU of each prediction with each object.

    IoU as a cost is from "End-to-End Object Detection with Transformers" https://arxiv.org/abs/2005.12872; rotated
    boxes that do not touch are told apart by 'giou' only.

    Args:
        iou_mode: 'iou', or 'giou' (https://arxiv.org/abs/1902.09630) with the convex hull of both boxes.
        weight: factor of the cost.

    Raises:
        ConfigError: when the mode is none of these.
    """

    def __init__(self, iou_mode: str = 'giou', weight: float = 1.0) -> None:
        if iou_mode not in MODES:
            raise ConfigError(f'iou_mode is {iou_mode!r}; expected one of {sorted(MODES)}')
        super().__init__(MODES[iou_mode], weight)
        self.iou_mode = iou_mode

    def factor(self, img_meta: dict | None) -> float:
        """Less the weight: more overlap costs less."""
        return -self.weight

"""Cost of matching by the Chamfer distance of corners."""

from mmdet.registry import TASK_UTILS

from ..losses.chamfer import rotated_chamfer
from .box_cost import DistanceCost


@TASK_UTILS.register_module()
class ChamferCost(DistanceCost):
    """Chamfer distance of the corners of each prediction and each object, in diagonals of the image.

    Proposed as a cost in "Real-Time Oriented Object Detection Transformer in Remote Sensing Images"
    https://arxiv.org/abs/2603.15497; here between corners in pixels, so that a turn of a non-square image changes
    nothing.

    Args:
        weight: factor of the cost.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(rotated_chamfer, weight)

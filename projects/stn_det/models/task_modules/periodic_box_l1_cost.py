"""Cost of matching by the L1 distance of the five numbers of a box, its angle taken along the circle."""

import math

import torch
from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from ...checks import check_shape
from ..losses.periodic_l1_loss import periodic_difference
from .box_cost import diagonal, image_size


@TASK_UTILS.register_module()
class PeriodicBoxL1Cost(BaseMatchCost):
    """L1 distance of (cx / W, cy / H, w / D, h / D, theta / pi), the angle's along the circle.

    The L1 cost of "End-to-End Object Detection with Transformers" https://arxiv.org/abs/2005.12872 with a fifth number.
    W and H are the sides of the image, D is its diagonal: sides of a box keep their meaning when it turns. An angle is
    at most half a turn of pi away, which counts 0.5; but a square, or a box at the seam that is written with its sides
    swapped, is still seen as another, unlike by the Hausdorff distance.

    Args:
        weight: factor of the cost.
        angle_weight: factor of the angle's part in it.
        seam: take the plain difference of the angles, with the jump at the ends of their range, to compare with.
    """

    def __init__(self, weight: float = 1.0, angle_weight: float = 1.0, seam: bool = False) -> None:
        super().__init__(weight=weight)
        self.angle_weight = angle_weight
        self.seam = seam

    def __call__(
        self, pred_instances: InstanceData, gt_instances: InstanceData, img_meta: dict | None = None, **kwargs
    ) -> Tensor:
        """Cost ``(M, N)``.

        Args:
            pred_instances: ``bboxes`` ``(M, 5)``, pixels of the network's input and radians.
            gt_instances: ``bboxes`` ``(N, 5)`` in the same frame.
            img_meta: ``img_shape`` (height, width).
            **kwargs: of other costs; not used.

        Raises:
            InputError: when boxes are not rotated ones, or ``img_meta`` has no ``img_shape``.
        """
        height, width = image_size(img_meta)
        boxes = check_shape('pred_instances.bboxes', get_box_tensor(pred_instances.bboxes), ('M', 5)).float()
        truth = check_shape('gt_instances.bboxes', get_box_tensor(gt_instances.bboxes), ('N', 5)).float()
        size = torch.cdist(_in_image(boxes, height, width), _in_image(truth, height, width), p=1)
        return self.weight * (size + self.angle_weight / math.pi * self._angles(boxes[:, 4:], truth[:, 4]))

    def _angles(self, pred: Tensor, target: Tensor) -> Tensor:
        """Distances ``(M, N)`` of angles ``(M, 1)`` and ``(N,)``, radians."""
        return (pred - target if self.seam else periodic_difference(pred, target)).abs()


def _in_image(boxes: Tensor, height: float, width: float) -> Tensor:
    """Centres over the sides and sides over the diagonal of the image, ``(..., 4)``; no tensor is brought over."""
    whole = diagonal(height, width)
    return torch.stack([boxes[:, k] / size for k, size in enumerate((width, height, whole, whole))], 1)

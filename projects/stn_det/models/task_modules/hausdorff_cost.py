"""Cost of matching by the Hausdorff distance, for detectors that assign one prediction to one object."""

from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import ConfigError
from ..losses.hausdorff import MODES, rotated_hausdorff


@TASK_UTILS.register_module()
class HausdorffCost(BaseMatchCost):
    """Hausdorff distance of each prediction from each object, in diagonals of the image.

    Proposed as a cost in "RHINO: Rotated DETR with Dynamic Denoising via Hungarian Matching for Oriented Object
    Detection" https://arxiv.org/abs/2305.07598. An L1 cost of box parameters sees two angles of one square, or of one
    box at the seam, as far apart; this cost does not.

    Args:
        mode: 'boundary' for the exact distance of the outlines, 'corners' for that of the corners.
        weight: factor of the cost.

    Raises:
        ConfigError: when the mode is none of these.
    """

    def __init__(self, mode: str = 'boundary', weight: float = 1.0) -> None:
        if mode not in MODES:
            raise ConfigError(f'mode is {mode!r}; expected one of {MODES}')
        super().__init__(weight=weight)
        self.mode = mode

    def __call__(
        self, pred_instances: InstanceData, gt_instances: InstanceData, img_meta: dict | None = None, **kwargs
    ) -> Tensor:
        """Cost ``(M, N)``.

        Args:
            pred_instances: ``bboxes`` ``(M, 5)``, pixels of the network's input and radians.
            gt_instances: ``bboxes`` ``(N, 5)`` in the same frame.
            img_meta: ``img_shape`` (height, width); without it the cost is in pixels.
            **kwargs: of other costs; not used.
        """
        boxes = get_box_tensor(pred_instances.bboxes).float()
        truth = get_box_tensor(gt_instances.bboxes).float()
        cost = rotated_hausdorff(boxes, truth, mode=self.mode) * self.weight
        if img_meta is None:
            return cost
        height, width = img_meta['img_shape'][:2]
        return cost / (height**2 + width**2) ** 0.5

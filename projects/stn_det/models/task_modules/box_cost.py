"""What costs of oriented boxes share: which boxes they compare, and the size of the image they compare them in."""

from collections.abc import Callable

from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import InputError


class BoxCost(BaseMatchCost):
    """Weighted function of all predicted boxes with all true ones, in float32.

    Args:
        function: takes boxes ``(M, 5)`` and ``(N, 5)``, pixels and radians, and gives ``(M, N)``.
        weight: factor of the cost.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], weight: float) -> None:
        super().__init__(weight=weight)
        self.function = function

    def __call__(
        self, pred_instances: InstanceData, gt_instances: InstanceData, img_meta: dict | None = None, **kwargs
    ) -> Tensor:
        """Cost ``(M, N)``.

        Args:
            pred_instances: ``bboxes`` ``(M, 5)``, pixels of the network's input and radians.
            gt_instances: ``bboxes`` ``(N, 5)`` in the same frame.
            img_meta: ``img_shape`` (height, width), for the costs that are measured in it.
            **kwargs: of other costs; not used.

        Raises:
            InputError: when boxes are not rotated ones, or ``img_meta`` has no ``img_shape``.
        """
        boxes = get_box_tensor(pred_instances.bboxes).float()
        truth = get_box_tensor(gt_instances.bboxes).float()
        return self.function(boxes, truth) * self.factor(img_meta)

    def factor(self, img_meta: dict | None) -> float:
        """What the function's values are multiplied by: the weight."""
        return self.weight


class DistanceCost(BoxCost):
    """Cost of a distance in pixels: in diagonals of the image, or in pixels where no image is named."""

    def factor(self, img_meta: dict | None) -> float:
        """The weight, over the diagonal of the image."""
        return self.weight if img_meta is None else self.weight / diagonal(*image_size(img_meta))


def image_size(img_meta: dict | None) -> tuple[float, float]:
    """Height and width of an image, pixels, or InputError where its ``img_shape`` is missing."""
    if img_meta is None or 'img_shape' not in img_meta:
        known = 'None' if img_meta is None else f'a dict of {sorted(img_meta)}'
        raise InputError(f'img_meta is {known}; expected img_shape (height, width): add it to meta_keys')
    return img_meta['img_shape'][0], img_meta['img_shape'][1]


def diagonal(height: float, width: float) -> float:
    """Diagonal of an image, pixels."""
    return (height**2 + width**2) ** 0.5

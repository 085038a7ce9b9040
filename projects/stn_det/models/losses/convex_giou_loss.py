"""GIoU of convex hulls as a loss: for quadrilaterals, and for sets of points that outline an object."""

from mmdet.registry import MODELS
from torch import Tensor

from ...ops import convex_giou
from .weighted import WeightedLoss


def convex_giou_loss(pred: Tensor, target: Tensor) -> Tensor:
    """``1 - GIoU`` of hulls of points ``(M, 2K)`` and of quads ``(M, 8)``, ``(M,)`` in [0, 2]; 0 for equal hulls."""
    return 1 - convex_giou(pred, target)[1]


@MODELS.register_module()
class ConvexGIoULoss(WeightedLoss):
    """Generalised IoU loss between the convex hull of predicted points and that of a target quadrilateral.

    Used for point sets in "Beyond Bounding-Box: Convex-hull Feature Adaptation for Oriented and Densely Packed Object
    Detection" (CVPR 2021), with the enclosing shape of "Generalized Intersection over Union"
    https://arxiv.org/abs/1902.09630: here the exact hull of both. A point inside the hull has no gradient.

    ``forward`` takes predictions ``(M, 2K)`` as (x1, y1, ..., xK, yK), K at least 3, and targets ``(M, 8)``, pixels.

    Args:
        reduction: 'none', 'mean' or 'sum'.
        loss_weight: factor of the result.

    Raises:
        ConfigError: when the reduction is unknown.
    """

    def __init__(self, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__(convex_giou_loss, reduction, loss_weight)

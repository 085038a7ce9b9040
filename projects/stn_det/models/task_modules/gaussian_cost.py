"""Cost of matching by the distance of Gaussians."""

from functools import partial

from mmdet.registry import TASK_UTILS

from ...errors import ConfigError
from ..losses.box_losses import GAUSSIAN_LOSSES
from ..losses.pairs import over_pairs
from .box_cost import BoxCost


@TASK_UTILS.register_module()
class GaussianCost(BoxCost):
    """Bounded distance of the Gaussians of each prediction and each object: the terms of ``GaussianBoxLoss``.

    KLD as a cost is from "RHINO: Rotated DETR with Dynamic Denoising via Hungarian Matching for Oriented Object
    Detection" https://arxiv.org/abs/2305.07598. All of these see a square from any angle alike.

    Args:
        distance: 'kld', 'jd', 'gwd', 'bcd' or 'probiou', see :class:`~stn_det.models.losses.GaussianBoxLoss`.
        weight: factor of the cost, which lies between 0 and 1.

    Raises:
        ConfigError: when the distance is none of these.
    """

    def __init__(self, distance: str = 'kld', weight: float = 1.0) -> None:
        if distance not in GAUSSIAN_LOSSES:
            raise ConfigError(f'distance is {distance!r}; expected one of {sorted(GAUSSIAN_LOSSES)}')
        super().__init__(partial(over_pairs, GAUSSIAN_LOSSES[distance]), weight)
        self.distance = distance

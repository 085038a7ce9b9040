"""Cost of matching by the Hausdorff distance, for detectors that assign one prediction to one object."""

from functools import partial

from mmdet.registry import TASK_UTILS

from ...errors import ConfigError
from ..losses.hausdorff import MODES, rotated_hausdorff
from .box_cost import DistanceCost


@TASK_UTILS.register_module()
class HausdorffCost(DistanceCost):
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
        super().__init__(partial(rotated_hausdorff, mode=mode), weight)
        self.mode = mode

"""The angle itself as its code."""

from mmdet.registry import TASK_UTILS
from torch import Tensor

from .base import AngleCoder


@TASK_UTILS.register_module()
class PseudoAngleCoder(AngleCoder):
    """Identity: one number, the angle in radians.

    The code jumps at the seam, so a loss on it should be periodic (``PeriodicL1Loss``).
    """

    encode_size = 1

    def encode(self, theta: Tensor) -> Tensor:
        """Angles ``(...,)`` as ``(..., 1)``."""
        return theta.unsqueeze(-1)

    def decode(self, code: Tensor) -> Tensor:
        """Codes ``(..., 1)`` as ``(...,)``, as they are: also outside of [-period / 2, period / 2)."""
        return code.squeeze(-1)

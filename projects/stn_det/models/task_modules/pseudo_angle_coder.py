"""The angle as it is: one number, in radians."""

from mmdet.registry import TASK_UTILS
from torch import Tensor


@TASK_UTILS.register_module()
class PseudoAngleCoder:
    """Stands where an angle coder is asked for and codes nothing.

    A loss on this code has a jump at the seam of le90, where -pi/2 and pi/2 are the same box; a loss on the decoded
    boxes alone, such as an IoU, has none.
    """

    encode_size = 1

    def encode(self, theta: Tensor) -> Tensor:
        """Code ``(..., 1)`` of angles ``(...,)`` in radians."""
        return theta.unsqueeze(-1)

    def decode(self, code: Tensor) -> Tensor:
        """Angles ``(...,)`` in radians, any turn of them, of a code ``(..., 1)``."""
        return code.squeeze(-1)

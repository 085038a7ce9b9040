"""The angle as a vector that points into twice its direction."""

from mmdet.registry import TASK_UTILS
from torch import Tensor

from .oriented_point_coder import angle_vectors, vector_angle


@TASK_UTILS.register_module()
class DoubleAngleCoder:
    """Codes an angle as the unit vector (cos 2t, sin 2t).

    A box turned by pi is the same box and the same vector, so a loss on the code has no jump at the seam of le90. The
    length of a predicted vector means nothing. A box that is nearly square flips its vector with the choice of the long
    side; ``OrientedPointCoder`` has a second vector for that.
    """

    encode_size = 2

    def encode(self, theta: Tensor) -> Tensor:
        """Code ``(..., 2)`` of angles ``(...,)`` in radians."""
        return angle_vectors(theta)[..., :2]

    def decode(self, code: Tensor) -> Tensor:
        """Angles ``(...,)`` in [-pi/2, pi/2], radians, of a code ``(..., 2)``; 0 for a vector without direction."""
        return vector_angle(code[..., 0], code[..., 1]) / 2

"""Angles as the expectation of a distribution over bins.

The distribution of "Generalized Focal Loss" https://arxiv.org/abs/2006.04388 for angles, as in "PP-YOLOE-R: An
Efficient Anchor-Free Rotated Object Detector" https://arxiv.org/abs/2211.02386. There the bins fill a quarter turn from
end to end; here they lie around the circle and the expectation is that of their directions, so there is no seam.
"""

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from ....errors import ConfigError
from .base import AngleCoder, vector_angle


@TASK_UTILS.register_module()
class DFLAngleCoder(AngleCoder):
    """A softmax over bins around the circle; the angle is the direction of its mean.

    The target shares 1 between the two bins beside the angle. Train with a cross-entropy that takes shares, such as
    mmdet's ``CrossEntropyLoss``. Unlike a classification it has a gradient from the angle to the code.

    Args:
        num_bins: how many bins fill the period, at least 4.
        heading: keep the direction of an object, period 2 pi.

    Raises:
        ConfigError: when there are fewer than 4 bins.
    """

    def __init__(self, num_bins: int = 90, heading: bool = False) -> None:
        super().__init__(heading)
        if num_bins < 4:
            raise ConfigError(f'num_bins is {num_bins}; expected at least 4')
        self.encode_size = num_bins

    def encode(self, theta: Tensor) -> Tensor:
        """Shares ``(..., num_bins)`` of angles ``(...,)`` in radians; two of them are not 0, the sum is 1."""
        place = ((theta + self.period / 2) * (self.encode_size / self.period)).unsqueeze(-1)
        bins = torch.arange(self.encode_size, device=theta.device, dtype=theta.dtype)
        around = (place - bins).remainder(self.encode_size)
        return (1 - torch.minimum(around, self.encode_size - around)).clamp(min=0)

    def decode(self, code: Tensor) -> Tensor:
        """Angles ``(...,)`` in radians, in [-period / 2, period / 2), of logits ``(..., num_bins)``.

        A code without preference has no direction and gives 0.
        """
        bins = torch.arange(self.encode_size, device=code.device, dtype=code.dtype)
        direction = bins * (2 * torch.pi / self.encode_size) - torch.pi
        shares = code.softmax(-1)
        angle = vector_angle((shares * direction.cos()).sum(-1), (shares * direction.sin()).sum(-1))
        return self._in_range(angle * (self.period / (2 * torch.pi)))

    def initial_code(self) -> Tensor:
        """Logits ``(num_bins,)`` without preference."""
        return torch.zeros(self.encode_size)

"""Angles as powers of a complex number on the unit circle.

Proposed in "Rethinking Boundary Discontinuity Problem for Oriented Object Detection" https://arxiv.org/abs/2305.10061,
as its angle correct module.
"""

import math

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from ....errors import ConfigError
from .base import AngleCoder, nearest_branch, vector_angle


@TASK_UTILS.register_module()
class ACMCoder(AngleCoder):
    """``exp(i omega theta)`` as two numbers, or as four with ``exp(2 i omega theta)`` beside it.

    With omega = 2 a box turned by pi has the same code. A square turned by a quarter has not, its first number pair
    flips the sign; the pair of twice the frequency stays, so ``dual_freq`` reads the angle from that and lets the first
    only choose between its branches.

    Args:
        base_omega: frequency: 2 for boxes, 1 for headings, 4 where all boxes are squares. The period is 2 pi / omega.
        dual_freq: add twice the frequency.

    Raises:
        ConfigError: when the frequency is none of these.
    """

    def __init__(self, base_omega: int = 2, dual_freq: bool = True) -> None:
        if base_omega not in (1, 2, 4):
            raise ConfigError(f'base_omega is {base_omega}; expected 2 for boxes, 1 for headings, 4 for squares')
        super().__init__()
        self.period = 2 * math.pi / base_omega
        self.base_omega = base_omega
        self.dual_freq = dual_freq
        self.encode_size = 4 if dual_freq else 2

    def encode(self, theta: Tensor) -> Tensor:
        """Codes ``(..., 2)`` or ``(..., 4)``: cosine and sine of each frequency, of angles ``(...,)`` in radians."""
        frequencies = (self.base_omega, 2 * self.base_omega) if self.dual_freq else (self.base_omega,)
        return torch.cat([torch.stack([(f * theta).cos(), (f * theta).sin()], -1) for f in frequencies], -1)

    def decode(self, code: Tensor) -> Tensor:
        """Angles ``(...,)`` in radians, in [-period / 2, period / 2), of codes ``(..., 2)`` or ``(..., 4)``."""
        theta = vector_angle(code[..., 0], code[..., 1]) / self.base_omega
        if self.dual_freq:
            fine = vector_angle(code[..., 2], code[..., 3]) / (2 * self.base_omega)
            theta = nearest_branch(fine, theta, self.period / 2)
        return self._in_range(theta)

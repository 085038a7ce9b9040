"""Angles as phases of a shifted cosine.

Proposed in "Phase-Shifting Coder: Predicting Accurate Orientation in Oriented Object Detection"
https://arxiv.org/abs/2211.06368
"""

import math

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from ....errors import ConfigError
from .base import AngleCoder, nearest_branch, vector_angle


@TASK_UTILS.register_module()
class PSCCoder(AngleCoder):
    """Phase-shifting coder: ``cos(phase + 2 pi n / N)`` for n = 1 ... N, of one or two phases.

    The phase is ``2 pi / period * theta``, so it has no seam. A square turned by a quarter is the same square, and the
    sign of its code is a matter of chance: with ``dual_freq`` a second phase, twice the first, tells its angle, and the
    first only picks the half of the period. Objects without any direction learn codes near zero; where the squared
    amplitude of the last phase, 1 for a perfect code, is below ``thr_mod``, the angle is 0.

    Args:
        dual_freq: use two phases, for squares.
        num_step: how many shifts N, at least 3.
        thr_mod: least squared amplitude of a code that means something.
        heading: keep the direction of an object, period 2 pi.

    Raises:
        ConfigError: when there are fewer than 3 steps or the threshold is not in [0, 1).
    """

    def __init__(self, dual_freq: bool = True, num_step: int = 3, thr_mod: float = 0.47, heading: bool = False) -> None:
        super().__init__(heading)
        if num_step < 3:
            raise ConfigError(f'num_step is {num_step}; expected at least 3, fewer do not tell a phase')
        if not 0 <= thr_mod < 1:
            raise ConfigError(f'thr_mod is {thr_mod}; expected a squared amplitude in [0, 1)')
        self.dual_freq = dual_freq
        self.num_step = num_step
        self.thr_mod = thr_mod
        self.encode_size = num_step * (2 if dual_freq else 1)

    def encode(self, theta: Tensor) -> Tensor:
        """Codes ``(..., encode_size)`` in [-1, 1] of angles ``(...,)`` in radians, the steps of a phase together."""
        phase = (theta * (2 * math.pi / self.period)).unsqueeze(-1)
        shift = self._shifts(theta)
        phases = (phase, 2 * phase) if self.dual_freq else (phase,)
        return torch.cat([(each + shift).cos() for each in phases], -1)

    def decode(self, code: Tensor) -> Tensor:
        """Angles ``(...,)`` in radians, in [-period / 2, period / 2), of codes ``(..., encode_size)``."""
        u, v = self._vector(code[..., : self.num_step])
        phase = vector_angle(u, v)
        if self.dual_freq:
            u, v = self._vector(code[..., self.num_step :])
            phase = nearest_branch(vector_angle(u, v) / 2, phase, math.pi)
        weak = (u.detach() ** 2 + v.detach() ** 2) < self.thr_mod
        return self._in_range(torch.where(weak, 0.0, phase) * (self.period / (2 * math.pi)))

    def _shifts(self, like: Tensor) -> Tensor:
        steps = torch.arange(1, self.num_step + 1, device=like.device, dtype=like.dtype)
        return steps * (2 * math.pi / self.num_step)

    def _vector(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine ``(...,)`` of the phase, times the amplitude, of the steps ``(..., N)`` of one phase."""
        shift = self._shifts(code)
        scale = 2 / self.num_step
        return (code * shift.cos()).sum(-1) * scale, -(code * shift.sin()).sum(-1) * scale

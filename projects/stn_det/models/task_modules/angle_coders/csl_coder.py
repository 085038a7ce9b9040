"""Angles as classes with labels that are smooth around the circle.

Proposed in "Arbitrary-Oriented Object Detection with Circular Smooth Label" https://arxiv.org/abs/2003.05597
"""

import math

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from ....errors import ConfigError
from .base import AngleCoder

WINDOWS = ('gaussian', 'triangle', 'rect', 'pulse')


@TASK_UTILS.register_module()
class CSLCoder(AngleCoder):
    """Circular smooth labels: a class for each ``omega`` degrees, and a window around the right one.

    The centres of the bins are ``-period / 2 + k omega``, so an upright box is the middle of a bin. With d for the
    distance of a bin, in bins and around the circle, from the one nearest to the angle, the windows are

    =========  ===========================================================
    gaussian   ``exp(-d^2 / (2 radius^2))``
    triangle   ``max(0, 1 - d / radius)``
    rect       1 where ``d < radius``, else 0
    pulse      1 where ``d = 0``, else 0: plain classes
    =========  ===========================================================

    The angle read back is the centre of the bin with the largest logit; for the window 'rect', which has no largest,
    the middle of the window with the largest sum of scores. It is off by up to ``omega / 2`` and has no gradient. Train
    with ``SmoothFocalLoss``.

    Args:
        omega: width of a bin in degrees; a whole number of bins must fill the period.
        window: 'gaussian', 'triangle', 'rect' or 'pulse'.
        radius: of the window, bins.
        heading: keep the direction of an object, period 2 pi.

    Raises:
        ConfigError: when the bins do not fill the period, the window is unknown or the radius is not above 0.
    """

    def __init__(
        self, omega: float = 1.0, window: str = 'gaussian', radius: float = 6.0, heading: bool = False
    ) -> None:
        super().__init__(heading)
        degrees = 360 if heading else 180
        count = round(degrees / omega) if omega > 0 else 0
        if count < 2 or abs(count * omega - degrees) > 1e-6:
            raise ConfigError(f'omega is {omega}; expected degrees of which a whole number of bins fills {degrees}')
        if window not in WINDOWS:
            raise ConfigError(f'window is {window!r}; expected one of {WINDOWS}')
        if not radius > 0:
            raise ConfigError(f'radius is {radius}; expected bins, above 0')
        self.encode_size = count
        self.window = window
        self.radius = radius

    def encode(self, theta: Tensor) -> Tensor:
        """Smooth labels ``(..., encode_size)`` in [0, 1] of angles ``(...,)`` in radians."""
        bins = torch.arange(self.encode_size, device=theta.device, dtype=theta.dtype)
        nearest = ((theta + self.period / 2) / self._bin).round().unsqueeze(-1)
        around = (bins - nearest).remainder(self.encode_size)
        distance = torch.minimum(around, self.encode_size - around)
        if self.window == 'gaussian':
            return (-(distance**2) / (2 * self.radius**2)).exp()
        if self.window == 'triangle':
            return (1 - distance / self.radius).clamp(min=0)
        return (distance < (self.radius if self.window == 'rect' else 0.5)).to(theta.dtype)

    def decode(self, code: Tensor) -> Tensor:
        """Centres of bins ``(...,)`` in radians, in [-period / 2, period / 2), of logits ``(..., encode_size)``."""
        if self.window == 'rect':
            bins = torch.arange(self.encode_size, device=code.device, dtype=code.dtype)
            code = code.sigmoid() @ self.encode(bins * self._bin - self.period / 2)
        return code.argmax(-1).to(code.dtype) * self._bin - self.period / 2

    def initial_code(self) -> Tensor:
        """Logits ``(encode_size,)`` of rare classes: a score of 0.01 each."""
        return torch.full((self.encode_size,), math.log(0.01 / 0.99))

    @property
    def _bin(self) -> float:
        """Width of a bin, radians."""
        return self.period / self.encode_size

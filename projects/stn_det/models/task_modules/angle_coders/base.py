"""What an angle coder is: a way to write an angle as numbers that a network can learn."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ....geometry import normalize_angle


def vector_angle(u: Tensor, v: Tensor) -> Tensor:
    """Angle (radians) of vectors with the components u and v; 0 for one so short that atan2's gradient would be 0/0."""
    short = (u.detach() ** 2 + v.detach() ** 2) < 1e-8
    return torch.atan2(torch.where(short, 0.0, v), torch.where(short, 1.0, u))


def nearest_branch(fine: Tensor, coarse: Tensor, period: float) -> Tensor:
    """The angle among ``fine + k * period`` that is nearest to ``coarse``; the gradient is that of ``fine``."""
    return fine + ((coarse - fine).detach() / period).round() * period


class AngleCoder(ABC):
    """Writes angles as codes of ``encode_size`` numbers and reads them back.

    Args:
        heading: keep the direction of an object, period 2 pi, instead of that of a box, period pi.

    Attributes:
        encode_size: how many numbers a code has.
        period: after which an angle means the same, radians.
    """

    encode_size: int

    def __init__(self, heading: bool = False) -> None:
        self.period = 2 * math.pi if heading else math.pi

    @abstractmethod
    def encode(self, theta: Tensor) -> Tensor:
        """Target codes ``(..., encode_size)`` of angles ``(...,)`` in radians."""

    @abstractmethod
    def decode(self, code: Tensor) -> Tensor:
        """Angles ``(...,)`` in radians, in [-period / 2, period / 2), of predicted codes ``(..., encode_size)``."""

    def initial_code(self) -> Tensor:
        """Code ``(encode_size,)`` that an untrained network should begin with: that of angle 0."""
        return self.encode(torch.zeros(()))

    def _in_range(self, theta: Tensor) -> Tensor:
        """Angles less whole periods, in [-period / 2, period / 2)."""
        return normalize_angle(theta, -self.period / 2, self.period)

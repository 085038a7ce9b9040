"""Oriented boxes as eight numbers at a point: centre offset, log sides, twice and four times the angle as vectors."""

import math

import torch
from mmdet.models.task_modules.coders import BaseBBoxCoder
from mmdet.registry import TASK_UTILS
from mmdet.utils import OptConfigType
from torch import Tensor

from .angle_coders import vector_angle

# exp(6) strides is far beyond any image; the bound keeps an untrained side from overflowing.
MAX_LOG_SIDE = 6.0


@TASK_UTILS.register_module()
class OrientedPointCoder(BaseBBoxCoder):
    """Codes an oriented box relative to a point of a feature map.

    The eight numbers are (dx, dy, log w, log h, u2, v2, u4, v4): the centre relative to the point and the logarithms of
    the sides, both in units of the point's stride, and two vectors whose directions are twice and four times the angle.
    A box turned by pi is the same box and the same vectors, so the target has no seam there. For a box that is nearly
    square, which of its sides is the long one is a matter of chance, and the first vector flips its sign with it; the
    second does not, it is the same for a square turned by pi/2. So elongated boxes take their angle from the first
    vector, which is the easier one to learn, boxes that are nearly square from the second, with the first to pick the
    quarter, and boxes between them a blend. Two frequencies are the idea of "Phase-Shifting Coder: Predicting Accurate
    Orientation in Oriented Object Detection" https://arxiv.org/abs/2211.06368; here with a vector for three phases.

    With an angle coder its code stands in the place of the vectors, and a code has 4 + its ``encode_size`` numbers.

    Args:
        base_side: side, in strides, of the box that log sides of zero stand for.
        angle_coder: config of an angle coder instead of the two vectors, or None.
    """

    encode_size = 8

    def __init__(self, base_side: float = 2.0, angle_coder: OptConfigType = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.base_side = base_side
        self.angle_coder = None if angle_coder is None else TASK_UTILS.build(angle_coder)
        if self.angle_coder is not None:
            self.encode_size = 4 + self.angle_coder.encode_size

    def encode_angle(self, theta: Tensor) -> Tensor:
        """The part of the code that tells the angle, ``(..., encode_size - 4)`` of ``(...,)`` radians."""
        return angle_vectors(theta) if self.angle_coder is None else self.angle_coder.encode(theta)

    def initial_angle_code(self) -> Tensor:
        """Code of the angle ``(encode_size - 4,)`` that an untrained network should begin with."""
        return angle_vectors(torch.zeros(())) if self.angle_coder is None else self.angle_coder.initial_code()

    def encode(self, points: Tensor, boxes: Tensor) -> Tensor:
        """Codes ``(..., 8)`` of boxes ``(..., 5)`` (pixels, radians) at points ``(..., 3)`` (x, y, stride)."""
        stride = points[..., 2:3]
        centre = (boxes[..., :2] - points[..., :2]) / stride
        sides = (boxes[..., 2:4].clamp(min=1e-3) / (stride * self.base_side)).log()
        return torch.cat([centre, sides, self.encode_angle(boxes[..., 4])], -1)

    def decode(self, points: Tensor, code: Tensor) -> Tensor:
        """Boxes ``(..., 5)`` (cx, cy, w, h, theta) of a code ``(..., 8)`` at points ``(..., 3)``; pixels, radians.

        Sides come out as predicted: w may be smaller than h. ``canonicalize_rboxes`` makes them le90.
        """
        stride = points[..., 2:3]
        centre = points[..., :2] + code[..., :2] * stride
        sides = code[..., 2:4].clamp(max=MAX_LOG_SIDE).exp() * (stride * self.base_side)
        if self.angle_coder is None:
            theta = vectors_angle(code[..., 4:], sides)
        else:
            theta = self.angle_coder.decode(code[..., 4:])
        return torch.cat([centre, sides, theta.unsqueeze(-1)], -1)


def angle_vectors(theta: Tensor) -> Tensor:
    """Unit vectors ``(..., 4)`` (cos 2t, sin 2t, cos 4t, sin 4t) of angles ``(...,)`` in radians."""
    return torch.stack([(2 * theta).cos(), (2 * theta).sin(), (4 * theta).cos(), (4 * theta).sin()], -1)


def vectors_angle(vectors: Tensor, sides: Tensor) -> Tensor:
    """Angles ``(...,)`` in radians of vectors ``(..., 4)`` about twice and four times it, for boxes ``(..., 2)``."""
    coarse = vector_angle(vectors[..., 0], vectors[..., 1]) / 2
    fine = vector_angle(vectors[..., 2], vectors[..., 3]) / 4
    # the way from the coarse angle to the nearest of the four that the fine vector stands for
    step = fine - coarse
    step = step - (step.detach() / (math.pi / 2)).round() * (math.pi / 2)
    return coarse + squareness(sides.detach()) * step


def squareness(sides: Tensor) -> Tensor:
    """How much a box ``(..., 2)`` (w, h) counts as square: 0 up to a ratio of sides of 0.5, 1 from 0.75 on."""
    short, long = sides.aminmax(dim=-1)
    return ((short / long.clamp(min=1e-6) - 0.5) / 0.25).clamp(0, 1)


def elongation(sides: Tensor) -> Tensor:
    """How much a box ``(..., 2)`` (w, h) has a long side: ``1 - (short / long)^2``, 0 for a square."""
    short, long = sides.clamp(min=1e-3).aminmax(dim=-1)
    return 1 - (short / long) ** 2

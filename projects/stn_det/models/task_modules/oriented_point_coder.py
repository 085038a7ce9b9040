"""Oriented boxes as eight numbers at a point: centre offset, log sides, twice and four times the angle as vectors."""

import math

import torch
from mmdet.models.task_modules.coders import BaseBBoxCoder
from mmdet.registry import TASK_UTILS
from torch import Tensor

# exp(6) strides is far beyond any image; the bound keeps an untrained side from overflowing.
MAX_LOG_SIDE = 6.0


@TASK_UTILS.register_module()
class OrientedPointCoder(BaseBBoxCoder):
    """Codes an oriented box relative to a point of a feature map.

    The eight numbers are (dx, dy, log w, log h, u2, v2, u4, v4): the centre relative to the point and the logarithms of
    the sides, both in units of the point's stride, and two vectors whose directions are twice and four times the angle.
    A box turned by pi is the same box and the same vectors, so the target has no seam there. The vector of four times
    the angle does not change when a square is turned by pi/2 either: it gives the fine angle, and the vector of twice
    the angle only says which of the two axes is the long one, a choice that costs nothing for a square. This is the
    dual-frequency idea of "Phase-Shifting Coder: Predicting Accurate Orientation in Oriented Object Detection"
    https://arxiv.org/abs/2211.06368, with a vector in place of three phases.

    Args:
        base_side: side, in strides, of the box that log sides of zero stand for.
    """

    encode_size = 8

    def __init__(self, base_side: float = 2.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.base_side = base_side

    def encode(self, points: Tensor, boxes: Tensor) -> Tensor:
        """Eight numbers ``(..., 8)`` of boxes ``(..., 5)`` (pixels, radians) at points ``(..., 3)`` (x, y, stride)."""
        stride = points[..., 2:3]
        centre = (boxes[..., :2] - points[..., :2]) / stride
        sides = (boxes[..., 2:4].clamp(min=1e-3) / (stride * self.base_side)).log()
        return torch.cat([centre, sides, angle_vectors(boxes[..., 4])], -1)

    def decode(self, points: Tensor, code: Tensor) -> Tensor:
        """Boxes ``(..., 5)`` (cx, cy, w, h, theta) of a code ``(..., 8)`` at points ``(..., 3)``; pixels, radians.

        Sides come out as predicted: w may be smaller than h. ``canonicalize_rboxes`` makes them le90.
        """
        stride = points[..., 2:3]
        centre = points[..., :2] + code[..., :2] * stride
        sides = code[..., 2:4].clamp(max=MAX_LOG_SIDE).exp() * (stride * self.base_side)
        coarse = _direction(code[..., 4].detach(), code[..., 5].detach()) / 2
        fine = _direction(code[..., 6], code[..., 7]) / 4
        # the multiple of pi/2 that brings the fine angle nearest to the coarse one
        theta = fine + ((coarse - fine.detach()) / (math.pi / 2)).round() * (math.pi / 2)
        return torch.cat([centre, sides, theta.unsqueeze(-1)], -1)


def angle_vectors(theta: Tensor) -> Tensor:
    """Unit vectors ``(..., 4)`` (cos 2t, sin 2t, cos 4t, sin 4t) of angles ``(...,)`` in radians."""
    return torch.stack([(2 * theta).cos(), (2 * theta).sin(), (4 * theta).cos(), (4 * theta).sin()], -1)


def _direction(u: Tensor, v: Tensor) -> Tensor:
    """Angle of a vector; 0 for one so short that the gradient of atan2 would be 0/0."""
    short = (u.detach() ** 2 + v.detach() ** 2) < 1e-8
    return torch.atan2(torch.where(short, 0.0, v), torch.where(short, 1.0, u))

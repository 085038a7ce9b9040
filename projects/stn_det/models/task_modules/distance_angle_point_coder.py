"""Oriented boxes as distances from a point to the four sides, along the box's own axes, and a coded angle."""

import math

import torch
from mmdet.models.task_modules.coders import BaseBBoxCoder
from mmdet.registry import TASK_UTILS
from mmdet.utils import OptConfigType
from torch import Tensor

from .oriented_point_coder import MAX_LOG_SIDE

# Sides and, where their logarithm is coded, distances are kept above this many strides.
LEAST_SIDE = 1e-3


@TASK_UTILS.register_module()
class DistanceAnglePointCoder(BaseBBoxCoder):
    """Codes an oriented box relative to a point of a feature map, as the box sees the point.

    The first four numbers are the distances (left, top, right, bottom) from the point to the sides, in units of the
    point's stride and in the frame of the box: left and right against and along its direction theta, top and bottom
    across, with y down in the frame as on screen. So the sides are ``w = left + right`` and ``h = top + bottom``, and
    the centre is the point plus ``R(theta) ((right - left) / 2, (bottom - top) / 2)``. The rest is the code of theta.
    The parametrisation is that of FCOS, https://arxiv.org/abs/1904.01355, in a turned frame, as in RTMDet's variant for
    oriented boxes, https://arxiv.org/abs/2212.07784.

    A box turned by pi is the same box with left and right, and top and bottom, exchanged: at a point away from the
    centre the distances have a jump at the seam of le90, whatever the angle coder. ``OrientedPointCoder`` codes the
    centre in the frame of the image and has none.

    Args:
        angle_coder: config of the coder of theta; by default a vector that points into twice its direction.
        exp_on_reg: code the logarithm of the distances; the point is then always inside the decoded box. Without, the
            distances are coded as they are and may be negative, up to where a side would vanish.
    """

    def __init__(self, angle_coder: OptConfigType = None, exp_on_reg: bool = True, **kwargs) -> None:
        super().__init__(**kwargs)
        self.angle_coder = TASK_UTILS.build(angle_coder or dict(type='ACMCoder', dual_freq=False))
        self.exp_on_reg = exp_on_reg
        self.encode_size = 4 + self.angle_coder.encode_size

    def encode_angle(self, theta: Tensor) -> Tensor:
        """The part of the code that tells the angle, ``(..., encode_size - 4)`` of ``(...,)`` radians."""
        return self.angle_coder.encode(theta)

    def initial_angle_code(self) -> Tensor:
        """Code of the angle ``(encode_size - 4,)`` that an untrained network should begin with."""
        return self.angle_coder.initial_code()

    def encode(self, points: Tensor, boxes: Tensor) -> Tensor:
        """Numbers ``(..., 4 + A)`` of boxes ``(..., 5)`` (pixels, radians) at points ``(..., 3)`` (x, y, stride)."""
        theta = boxes[..., 4]
        shift = _turn(points[..., :2] - boxes[..., :2], -theta)
        half = boxes[..., 2:4] / 2
        distance = torch.cat([half + shift, half - shift], -1) / points[..., 2:3]
        if self.exp_on_reg:
            distance = distance.clamp(min=LEAST_SIDE).log()
        return torch.cat([distance, self.encode_angle(theta)], -1)

    def decode(self, points: Tensor, code: Tensor) -> Tensor:
        """Boxes ``(..., 5)`` (cx, cy, w, h, theta) of a code ``(..., 4 + A)`` at points ``(..., 3)``; pixels, radians.

        Sides come out as predicted: w may be smaller than h, and theta is what the angle coder gives.
        ``canonicalize_rboxes`` makes them le90.
        """
        stride = points[..., 2:3]
        if self.exp_on_reg:
            distance = code[..., :4].clamp(max=MAX_LOG_SIDE).exp()
        else:
            largest = math.exp(MAX_LOG_SIDE)
            distance = code[..., :4].clamp(min=-largest, max=largest)
        before, behind = distance[..., :2], distance[..., 2:]
        theta = self.angle_coder.decode(code[..., 4:])
        sides = (before + behind).clamp(min=LEAST_SIDE)
        centre = points[..., :2] + _turn((behind - before) / 2, theta) * stride
        return torch.cat([centre, sides * stride, theta.unsqueeze(-1)], -1)


def _turn(vectors: Tensor, theta: Tensor) -> Tensor:
    """Vectors ``(..., 2)`` turned clockwise on screen by angles ``(...,)`` in radians."""
    x, y = vectors.unbind(-1)
    cos, sin = theta.cos(), theta.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], -1)

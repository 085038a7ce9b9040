"""Oriented boxes as six numbers at a point: centre offset, log sides, and the double angle as a vector."""

import torch
from mmdet.models.task_modules.coders import BaseBBoxCoder
from mmdet.registry import TASK_UTILS
from torch import Tensor

# exp(6) strides is far beyond any image; the bound keeps an untrained side from overflowing.
MAX_LOG_SIDE = 6.0


@TASK_UTILS.register_module()
class OrientedPointCoder(BaseBBoxCoder):
    """Codes an oriented box relative to a point of a feature map.

    The six numbers are (dx, dy, log w, log h, u, v): the centre relative to the point and the logarithms of the sides,
    both in units of the point's stride, and a vector whose direction is twice the angle, ``theta = atan2(v, u) / 2``.
    A box turned by pi is the same box and the same vector, so the target has no seam anywhere. This is the double-angle
    form of phase coding, "Phase-Shifting Coder: Predicting Accurate Orientation in Oriented Object Detection"
    https://arxiv.org/abs/2211.06368, without its three phases.

    Args:
        base_side: side, in strides, of the box that log sides of zero stand for.
    """

    encode_size = 6

    def __init__(self, base_side: float = 2.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.base_side = base_side

    def encode(self, points: Tensor, boxes: Tensor) -> Tensor:
        """Six numbers ``(..., 6)`` of boxes ``(..., 5)`` (pixels, radians) at points ``(..., 3)`` (x, y, stride)."""
        stride = points[..., 2:3]
        centre = (boxes[..., :2] - points[..., :2]) / stride
        sides = (boxes[..., 2:4].clamp(min=1e-3) / (stride * self.base_side)).log()
        angle = 2 * boxes[..., 4:5]
        return torch.cat([centre, sides, angle.cos(), angle.sin()], -1)

    def decode(self, points: Tensor, code: Tensor) -> Tensor:
        """Boxes ``(..., 5)`` (cx, cy, w, h, theta in [-pi/2, pi/2]) of a code ``(..., 6)`` at points ``(..., 3)``.

        Sides come out as predicted: w may be smaller than h. ``canonicalize_rboxes`` makes them le90.
        """
        stride = points[..., 2:3]
        centre = points[..., :2] + code[..., :2] * stride
        sides = code[..., 2:4].clamp(max=MAX_LOG_SIDE).exp() * (stride * self.base_side)
        u, v = code[..., 4], code[..., 5]
        # The gradient of atan2 is 0/0 at the origin; a vector that short has no direction and is read as angle 0.
        short = (u.detach() ** 2 + v.detach() ** 2) < 1e-8
        theta = 0.5 * torch.atan2(torch.where(short, 0.0, v), torch.where(short, 1.0, u))
        return torch.cat([centre, sides, theta.unsqueeze(-1)], -1)

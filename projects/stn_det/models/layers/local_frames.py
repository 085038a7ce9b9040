"""A frame for every cell of a feature map: where it looks, along which direction and how far apart its points are.

Letters: N images, H x W cells. Lengths are in cells of the map; x runs right, y down, angles are clockwise on screen.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..task_modules.angle_coders import vector_angle

FRAME_NUMBERS = 6  # offset 2, logarithm of the scales 2, direction 2
KERNEL = (-1.0, 0.0, 1.0)  # places of a 3x3 kernel along one axis, cells


class LocalFrames(NamedTuple):
    """Frames of all cells of one level.

    The angle is that of a vector of twice the angle: an object that is turned by pi is the same object, so the vector
    has one target where a plain direction would have two opposite ones, whose mean is 0.

    Attributes:
        offset: (N, 2, H, W) centre of the frame relative to that of the cell, (x, y) in cells.
        log_scale: (N, 2, H, W) logarithm of the distance of neighbouring points along and across the frame, cells.
        direction: (N, 2, H, W) vector of twice the angle, of any length but 0.
    """

    offset: Tensor
    log_scale: Tensor
    direction: Tensor

    @property
    def scale(self) -> Tensor:
        """(N, 2, H, W) distance of neighbouring points along and across the frame, cells."""
        return self.log_scale.exp()

    @property
    def angle(self) -> Tensor:
        """(N, H, W) radians in [-pi/2, pi/2], clockwise on screen."""
        return vector_angle(*self.direction.unbind(1)) / 2


def decode_frames(raw: Tensor, max_offset: float, max_scale: float) -> LocalFrames:
    """Bounded frames from numbers without bounds; 0 is the regular 3x3 grid.

    Args:
        raw: (N, 6, H, W): offset, logarithm of the scales, and the direction less (1, 0).
        max_offset: Bound of each component of the offset, cells.
        max_scale: Scales lie between 1 / max_scale and max_scale.
    """
    offset, log_scale, direction = raw.split(2, dim=1)
    largest = math.log(max_scale)
    ahead = direction.new_tensor([1.0, 0.0]).view(1, 2, 1, 1)
    return LocalFrames(
        max_offset * torch.tanh(offset / max_offset), largest * torch.tanh(log_scale / largest), direction + ahead
    )


def frame_offsets(frames: LocalFrames) -> Tensor:
    """Offsets that move the points of a 3x3 convolution into frames: ``offset + R(angle) (scale * point) - point``.

    Args:
        frames: Frames of N x H x W cells.

    Returns:
        (N, 18, H, W) for :func:`stn_det.ops.deform_conv2d` with padding 1, channels ``[ky][kx][dy, dx]``.
    """
    cos, sin = frames.angle.cos(), frames.angle.sin()
    along, across = frames.scale.unbind(1)
    x, y = frames.offset.unbind(1)
    channels = []
    for row in KERNEL:
        for column in KERNEL:
            channels.append(y + sin * along * column + cos * across * row - row)
            channels.append(x + cos * along * column - sin * across * row - column)
    return torch.stack(channels, dim=1)

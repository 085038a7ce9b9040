"""Alignment convolution: every cell's 3x3 kernel is laid over an oriented box."""

import torch
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import InputError
from ...geometry import canonicalize_rboxes
from ...ops import deform_conv2d
from .local_frames import box_offsets


class AlignConv(BaseModule):
    """3x3 convolution that reads each cell's surroundings through a box instead of a window of pixels.

    Proposed in "Align Deep Features for Oriented Object Detection" https://arxiv.org/abs/2008.09397. The nine points
    are the centres of the box's 3x3 equal parts, so that an upright square of three strides, centred on the cell, gives
    the ordinary convolution. There, the centre of a cell is its corner; here, it lies half a stride from it, as
    everywhere in this package.

    The result depends on the rectangle alone, not on which of its writings comes in: the kernel's rows run along the
    long side, in the direction of [-pi/4, 3 pi/4). So the direction flips for diagonals, as in the paper, and not for
    objects along the y axis, which aerial images show more often.

    Args:
        in_channels: channels C of the map.
        out_channels: channels O of the result.
        bias: whether to add one number to each output channel.
        init_cfg: weight initialisation.

    Example:
        >>> import torch
        >>> conv = AlignConv(8, 16)
        >>> boxes = torch.tensor([20.0, 20.0, 60.0, 12.0, 0.5]).expand(1, 4, 6, 5)  # the same in every cell
        >>> tuple(conv(torch.rand(1, 8, 4, 6), boxes, stride=8).shape)
        (1, 16, 4, 6)
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True, init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)

    def forward(self, x: Tensor, boxes: Tensor, stride: float) -> Tensor:
        """Convolve.

        Args:
            x: (N, C, H, W).
            boxes: (N, H, W, 5) one box a cell, (cx, cy, w, h, theta), pixels of the network's input and radians; read
                in float32 or wider whatever autocast says.
            stride: pixels a cell.

        Returns:
            (N, O, H, W) in the dtype of ``x``, differentiable to x and boxes.

        Raises:
            InputError: If there is not one box a cell.
        """
        expected = (x.shape[0], *x.shape[2:], 5)
        if tuple(boxes.shape) != expected:
            raise InputError(f'boxes has shape {tuple(boxes.shape)}, expected {expected}: one box a cell of x')
        with torch.autocast(x.device.type, enabled=False):
            wide = boxes if boxes.dtype == torch.float64 else boxes.float()
            offsets = box_offsets(canonicalize_rboxes(wide, 'le135'), stride)
        return deform_conv2d(x, offsets, self.conv.weight, self.conv.bias, padding=1)

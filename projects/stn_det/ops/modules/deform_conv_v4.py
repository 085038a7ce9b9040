"""Deformable convolution v4 as a layer that takes the place of a convolution.

Efficient Deformable ConvNets, https://arxiv.org/abs/2401.06197.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stn_det.checks import as_pair
from stn_det.errors import InputError
from stn_det.ops.deform_conv_v3 import kernel_points
from stn_det.ops.deform_conv_v4 import deform_conv_v4, packed_channels


class DeformConv2dV4Pack(nn.Module):
    """Deformable convolution v4 that learns its offsets and weights, on maps (N, C, H, W).

    A pointwise projection, a weighted sum of K displaced pixels for every output pixel and group, another projection.
    Offsets and weights come from the same window by a depthwise convolution and a linear layer, the form that the paper
    gives for windows larger than a pixel. All offsets start at 0 and all weights at 1 / K, as in version 3, so the
    layer starts as a mean over the window between the projections. With the paper's start, weights of 0, the layer
    would put out nothing, and what follows would have nothing to learn from.

    Args:
        in_channels, out_channels: channels C and O.
        kernel_size, stride, padding, dilation: an int or (vertical, horizontal).
        groups: blocks of channels that are projected separately.
        bias: whether to add one number to each output channel.
        deform_groups: blocks of channels that share offsets and weights.
        offset_scale: factor of the offsets and of the window.
        remove_center: leave the centre of a square, odd window out.

    Raises:
        InputError: for groups that do not divide the channels, or a window that is none.

    Example:
        >>> import torch
        >>> layer = DeformConv2dV4Pack(8, 12, 3, stride=2, padding=1)
        >>> tuple(layer(torch.rand(1, 8, 6, 10)).shape)
        (1, 12, 3, 5)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        deform_groups: int = 4,
        offset_scale: float = 1.0,
        remove_center: bool = False,
    ) -> None:
        super().__init__()
        for name, count, channels in (
            ('groups', groups, in_channels),
            ('groups', groups, out_channels),
            ('deform_groups', deform_groups, in_channels),
        ):
            if count < 1 or channels % count:
                raise InputError(
                    f'{name} is {count}, expected a positive divisor of the channels, here {in_channels} in and '
                    f'{out_channels} out'
                )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = as_pair('kernel_size', kernel_size)
        self.stride = as_pair('stride', stride)
        self.padding = as_pair('padding', padding)
        self.dilation = as_pair('dilation', dilation)
        self.groups, self.deform_groups = groups, deform_groups
        self.offset_scale, self.remove_center = offset_scale, remove_center
        self.transposed = False  # read by code that takes any convolution, mmcv's ConvModule for one
        self.output_padding = (0,)
        self.points = kernel_points(self.kernel_size, remove_center)
        window = (self.kernel_size, self.stride, self.padding, self.dilation)
        self.value_proj = nn.Conv2d(in_channels, in_channels, 1, groups=groups)
        self.offset_mask_dw = nn.Conv2d(in_channels, in_channels, *window, groups=in_channels)
        self.offset_mask = nn.Linear(in_channels, packed_channels(deform_groups * self.points))
        self.output_proj = nn.Conv2d(in_channels, out_channels, 1, groups=groups, bias=bias)
        self.reset_offsets()

    def reset_offsets(self) -> None:
        """Offsets 0 and weights 1 / K, whatever the input."""
        nn.init.zeros_(self.offset_mask.weight)
        with torch.no_grad():
            self.offset_mask.bias.zero_()
            packed = self.offset_mask.bias[: 3 * self.deform_groups * self.points]
            packed.view(self.deform_groups, 3, self.points)[:, 2] = 1 / self.points

    def init_weights(self) -> None:
        """What mmengine calls where initialisation is left to the layer: keeps the projections, resets the offsets."""
        self.reset_offsets()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x (N, C, H, W) to (N, O, h, w); offsets and weights are never narrower than the parameters."""
        window = self.offset_mask_dw(x).permute(0, 2, 3, 1)
        with torch.autocast(x.device.type, enabled=False):
            offset_mask = self.offset_mask(window.to(self.offset_mask.weight.dtype))
        sampled = deform_conv_v4(
            self.value_proj(x).permute(0, 2, 3, 1),
            offset_mask,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.deform_groups,
            self.offset_scale,
            self.remove_center,
        )
        result: Tensor = self.output_proj(sampled.permute(0, 3, 1, 2))
        return result

    def extra_repr(self) -> str:
        """Settings as they were passed."""
        return (
            f'{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, '
            f'padding={self.padding}, dilation={self.dilation}, groups={self.groups}, '
            f'deform_groups={self.deform_groups}'
        )

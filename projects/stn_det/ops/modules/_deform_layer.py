"""What the layers of deformable convolution have in common: settings, the kernel, and the convolution of the offsets.

Parameters are named as in mmcv, so that checkpoints of its layers load.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stn_det.checks import as_pair
from stn_det.errors import InputError


class DeformLayer(nn.Module):
    """Settings and parameters of a deformable convolution; the letters are those of ``ops.deform_conv2d``.

    Args:
        in_channels, out_channels: channels C and O.
        kernel_size, stride, padding, dilation: an int or (vertical, horizontal).
        groups: blocks of channels that are convolved separately.
        deform_groups: blocks of channels that share offsets.
        bias: whether to add one number to each channel.

    Attributes:
        weight: (O, C / groups, kh, kw).
        bias: (O,) or None.
        conv_offset: the convolution over the same windows that gives the offsets, in the layers that have one.

    Raises:
        InputError: for groups that do not divide the channels, or a geometry that is no int and no pair.
    """

    learned = 0  # channels of `conv_offset` for each kernel point

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool = False,
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
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = as_pair('kernel_size', kernel_size)
        self.stride = as_pair('stride', stride)
        self.padding = as_pair('padding', padding)
        self.dilation = as_pair('dilation', dilation)
        self.groups = groups
        self.deform_groups = deform_groups
        self.transposed = False  # read by code that takes any convolution, mmcv's ConvModule for one
        self.output_padding = (0,)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        if self.learned:
            channels = self.learned * deform_groups * self.kernel_size[0] * self.kernel_size[1]
            window = (self.kernel_size, self.stride, self.padding, self.dilation)
            self.conv_offset = nn.Conv2d(in_channels, channels, *window)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Zero the bias and ``conv_offset``, so that training starts at the undeformed grid."""
        for name, parameter in self.named_parameters():
            if name != 'weight':
                nn.init.zeros_(parameter)

    def geometry(self) -> dict[str, Any]:
        """Options of ``ops.deform_conv2d``."""
        return dict(
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            offset_groups=self.deform_groups,
        )

    def extra_repr(self) -> str:
        """Settings as they were passed."""
        return (
            f'{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, '
            f'padding={self.padding}, dilation={self.dilation}, groups={self.groups}, '
            f'deform_groups={self.deform_groups}, bias={self.bias is not None}'
        )


def rename_offset_keys(model: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of an early checkpoint under the names they have now: ``x_offset.weight`` to ``x.conv_offset.weight``.

    Checkpoints from before mmcv had version 2 of these layers need this. The layers cannot do it themselves, as they
    once did: ``load_state_dict`` hands a layer only the keys that begin with its own name.

    Args:
        model: what the checkpoint is for; any of its modules may have a ``conv_offset``, also those of mmcv.
        state_dict: parameters by name; is not changed.

    Returns:
        The parameters by their present names, to be passed to ``model.load_state_dict``.
    """
    current, renamed = model.state_dict(), dict(state_dict)
    for key in current:
        layer, found, name = key.rpartition('.conv_offset.')
        old = f'{layer}_offset.{name}'
        if found and key not in renamed and old in renamed and old not in current:
            renamed[key] = renamed.pop(old)
    return renamed

"""Deformable convolution with a mask as a layer.

Deformable ConvNets v2, https://arxiv.org/abs/1811.11168. Names of parameters and the start of training are those of
mmcv's ``ModulatedDeformConv2d`` and ``ModulatedDeformConv2dPack``.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from stn_det.ops.deform_conv2d import deform_conv2d
from stn_det.ops.modules._deform_layer import DeformLayer


class ModulatedDeformConv2d(DeformLayer):
    """Deformable convolution whose offsets and mask come from elsewhere; for the arguments see :class:`DeformLayer`."""

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
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, deform_groups, bias)

    def reset_parameters(self) -> None:
        """Draw the kernel uniformly within 1 / sqrt(C * K); zero the rest."""
        super().reset_parameters()
        bound = 1 / math.sqrt(self.in_channels * self.kernel_size[0] * self.kernel_size[1])
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: (N, C, H, W).
            offset: (N, deform_groups * K * 2, h, w), pixels, channels ordered ``[group][ky][kx][dy, dx]``.
            mask: (N, deform_groups * K, h, w) factors, channels ordered ``[group][ky][kx]``.

        Returns:
            (N, O, h, w).
        """
        return deform_conv2d(x, offset, self.weight, self.bias, mask=mask, **self.geometry())


class ModulatedDeformConv2dPack(ModulatedDeformConv2d):
    """Deformable convolution that learns its offsets and mask.

    Two thirds of the channels of ``conv_offset`` are the offsets, the last third is the mask before its sigmoid. It
    starts at zeros, where every mask is 0.5: the layer starts as half the ordinary convolution with its kernel. That is
    how DCNv2 starts, and what the kernels of its checkpoints count on.

    Example:
        >>> import torch
        >>> layer = ModulatedDeformConv2dPack(4, 6, 3, padding=1)
        >>> x = torch.randn(1, 4, 8, 8)
        >>> torch.allclose(layer(x), 0.5 * torch.nn.functional.conv2d(x, layer.weight, padding=1), atol=1e-5)
        True
    """

    _version = 2
    learned = 3

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Convolve x (N, C, H, W) to (N, O, h, w)."""
        learned = self.conv_offset(x)
        points = learned.shape[1] // 3
        return super().forward(x, learned[:, : 2 * points], learned[:, 2 * points :].sigmoid())

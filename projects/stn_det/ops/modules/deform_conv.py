"""Deformable convolution as a layer.

Deformable Convolutional Networks, https://arxiv.org/abs/1703.06211. Names of parameters and the start of training are
those of mmcv's ``DeformConv2d`` and ``DeformConv2dPack``. ``im2col_step`` is gone: any batch size does.
"""

from torch import Tensor, nn

from stn_det.ops.deform_conv2d import deform_conv2d
from stn_det.ops.modules._deform_layer import DeformLayer


class DeformConv2d(DeformLayer):
    """Deformable convolution whose offsets come from elsewhere; for the arguments see :class:`DeformLayer`."""

    def reset_parameters(self) -> None:
        """Draw the kernel from Kaiming's uniform distribution, https://arxiv.org/abs/1502.01852; zero the rest."""
        super().reset_parameters()
        nn.init.kaiming_uniform_(self.weight, nonlinearity='relu')

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: (N, C, H, W).
            offset: (N, deform_groups * K * 2, h, w), pixels, channels ordered ``[group][ky][kx][dy, dx]``.

        Returns:
            (N, O, h, w).
        """
        return deform_conv2d(x, offset, self.weight, self.bias, **self.geometry())


class DeformConv2dPack(DeformConv2d):
    """Deformable convolution that learns its offsets; it starts as the ordinary convolution with its kernel.

    Example:
        >>> import torch
        >>> layer = DeformConv2dPack(4, 6, 3, padding=1)
        >>> x = torch.randn(1, 4, 8, 8)
        >>> torch.allclose(layer(x), torch.nn.functional.conv2d(x, layer.weight, padding=1), atol=1e-5)
        True
    """

    _version = 2
    learned = 2

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Convolve x (N, C, H, W) to (N, O, h, w)."""
        return super().forward(x, self.conv_offset(x))

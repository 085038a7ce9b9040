"""Deformable convolution v4: v3 without the softmax, offsets and weights in one tensor.

Efficient Deformable ConvNets, https://arxiv.org/abs/2401.06197.

Letters: N images, G groups of D channels, h x w outputs, K kernel points (one less without the centre).
"""

from collections.abc import Sequence

from torch import Tensor

from stn_det.checks import as_pair, check_float_shape
from stn_det.ops.deform_conv_v3 import kernel_points, output_size, sample_window


def deform_conv_v4(
    input: Tensor,
    offset_mask: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    offset_scale: float = 1.0,
    remove_center: bool = False,
) -> Tensor:
    """Weighted sum of K displaced pixels around every output pixel, group by group.

    Offsets are (x, y) and kernel points run down the columns, as in ``deform_conv_v3``. The weights have no bounds and
    need not sum up to 1. Any batch, group and channel counts do.

    Args:
        input: (N, H, W, G * D).
        offset_mask: (N, h, w, M), for each group K offsets (dx, dy), then K weights; M = 3 * G * K, rounded up to the
            next multiple of 8, and what is beyond 3 * G * K is not read.
        kernel_size, stride, padding, dilation: an int or (vertical, horizontal).
        groups: blocks of channels with offsets and weights of their own.
        offset_scale: factor of the offsets and of the window, which grows around its centre.
        remove_center: leave the centre of a square, odd window out of the K points.

    Returns:
        (N, h, w, G * D) in the dtype of ``input``, differentiable once to both tensors.

    Raises:
        InputError: for a wrong shape, dtype, device, group count or window.
    """
    kernel, stride = as_pair('kernel_size', kernel_size), as_pair('stride', stride)
    padding, dilation = as_pair('padding', padding), as_pair('dilation', dilation)
    size = output_size(input, kernel, stride, padding, dilation, groups)
    points = kernel_points(kernel, remove_center)
    check_float_shape('offset_mask', offset_mask, (input.shape[0], *size, packed_channels(groups * points)))
    packed = offset_mask[..., : 3 * groups * points].unflatten(-1, (groups, 3 * points))
    offset, mask = packed[..., : 2 * points].unflatten(-1, (points, 2)), packed[..., 2 * points :]
    return sample_window(input, offset, mask, kernel, stride, padding, dilation, offset_scale, remove_center)


def packed_channels(points: int) -> int:
    """Channels of ``offset_mask`` for ``points = G * K``."""
    return -(-3 * points // 8) * 8

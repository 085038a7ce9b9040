"""Deformable convolution, v1 and v2 (with a mask).

Deformable Convolutional Networks, https://arxiv.org/abs/1703.06211, and Deformable ConvNets v2,
https://arxiv.org/abs/1811.11168. Layouts follow torchvision and mmcv.

Letters: N images, C and O channels in and out, G offset groups, K = kh * kw kernel points, h x w outputs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from stn_det.checks import as_pair, check_float_shape, check_same_device, compute_dtype
from stn_det.errors import InputError
from stn_det.ops._sampling import bag_sum, bilinear_taps

Pair = tuple[int, int]


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    mask: Tensor | None = None,
    groups: int = 1,
    offset_groups: int = 1,
) -> Tensor:
    """Convolution whose kernel points are displaced by an offset at every output pixel.

    Pixels outside the map read as 0; a NaN offset reads 0. Offsets and the product are computed in float32 at least,
    also under autocast.

    Args:
        input: (N, C, H, W).
        offset: (N, G * K * 2, h, w), pixels, channels ordered ``[group][ky][kx][dy, dx]``.
        weight: (O, C / groups, kh, kw).
        bias: (O,) or None.
        stride, padding, dilation: an int or (vertical, horizontal).
        mask: (N, G * K, h, w) factors, channels ordered ``[group][ky][kx]``, or None (version 1).
        groups: blocks of channels that are convolved separately.
        offset_groups: blocks of channels that share offsets.

    Returns:
        (N, O, h, w) in the dtype of ``input``, differentiable once to all tensors.

    Raises:
        InputError: for a wrong shape, dtype, device or group count.
    """
    strides, paddings, dilations = as_pair('stride', stride), as_pair('padding', padding), as_pair('dilation', dilation)
    check_float_shape('input', input, ('N', 'C', 'H', 'W'))
    check_float_shape('weight', weight, ('O', 'C / groups', 'kh', 'kw'))
    size = output_size(input, weight, strides, paddings, dilations)
    _check_groups(input, weight, groups, offset_groups)
    points = offset_groups * weight.shape[2] * weight.shape[3]
    check_float_shape('offset', offset, (input.shape[0], 2 * points, *size))
    if mask is not None:
        check_float_shape('mask', mask, (input.shape[0], points, *size))
    if bias is not None:
        check_float_shape('bias', bias, (weight.shape[0],))
    check_same_device(input=input, offset=offset, weight=weight, bias=bias, mask=mask)
    dtype = compute_dtype(input, offset, weight)
    with torch.autocast(input.device.type, enabled=False):
        y, x = kernel_points(offset.to(dtype), weight.shape[2:], strides, paddings, dilations, offset_groups)
        columns = deform_im2col(input.to(dtype), y, x, None if mask is None else mask.to(dtype))
        output = _contract(columns, weight.to(dtype), groups)
        if bias is not None:
            output = output + bias.to(dtype)
        batch, channels = input.shape[0], weight.shape[0]
        return output.view(batch, *size, channels).permute(0, 3, 1, 2).contiguous().to(input.dtype)


def output_size(input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    """Output size (h, w) of a convolution."""
    extent = [
        (input.shape[2 + k] + 2 * padding[k] - dilation[k] * (weight.shape[2 + k] - 1) - 1) // stride[k] + 1
        for k in range(2)
    ]
    if min(extent) < 1:
        raise InputError(
            f'input of size {tuple(input.shape[2:])} is smaller than the kernel {tuple(weight.shape[2:])} with padding '
            f'{padding} and dilation {dilation}; expected an output of at least 1 x 1, raise the padding'
        )
    return extent[0], extent[1]


def _check_groups(input: Tensor, weight: Tensor, groups: int, offset_groups: int) -> None:
    channels = input.shape[1]
    for name, count in (('groups', groups), ('offset_groups', offset_groups)):
        if count < 1 or channels % count:
            raise InputError(f'{name} is {count}, expected a positive divisor of the {channels} channels of input')
    if weight.shape[1] * groups != channels or weight.shape[0] % groups:
        raise InputError(
            f'weight has shape {tuple(weight.shape)}, expected (O, {channels // groups}, kh, kw) with O divisible by '
            f'groups = {groups}, because input has {channels} channels'
        )


def kernel_points(
    offset: Tensor, kernel: Sequence[int], stride: Pair, padding: Pair, dilation: Pair, offset_groups: int
) -> tuple[Tensor, Tensor]:
    """Sampling points y, x (N, h, w, K, G) in pixel indices of the input, from offsets (N, G * K * 2, h, w)."""
    batch, _, height, width = offset.shape
    shift = offset.view(batch, offset_groups, kernel[0] * kernel[1], 2, height, width).permute(0, 4, 5, 2, 1, 3)
    rows, columns = (torch.arange(n, device=offset.device, dtype=offset.dtype) for n in (height, width))
    ky, kx = (torch.arange(n, device=offset.device, dtype=offset.dtype) for n in kernel)
    base_y = (rows * stride[0] - padding[0])[:, None, None] + (ky * dilation[0]).repeat_interleave(kernel[1])
    base_x = (columns * stride[1] - padding[1])[None, :, None] + (kx * dilation[1]).repeat(kernel[0])
    return shift[..., 0] + base_y[..., None], shift[..., 1] + base_x[..., None]


def deform_im2col(input: Tensor, y: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
    """Sampled columns (N * h * w, K, C) at the points y, x (N, h, w, K, G), times the mask (N, G * K, h, w)."""
    batch, channels, in_height, in_width = input.shape
    _, height, width, points, offset_groups = y.shape
    rows, columns, weights = bilinear_taps(y, x, in_height, in_width, zero_border=True)  # (N, h, w, K, G, 4)
    if mask is not None:
        factors = mask.view(batch, offset_groups, points, height, width).permute(0, 3, 4, 2, 1)
        weights = weights * factors[..., None]
    image = torch.arange(batch, device=input.device).view(-1, 1, 1, 1, 1, 1)
    group = torch.arange(offset_groups, device=input.device)[:, None]
    index = ((image * in_height + rows) * in_width + columns) * offset_groups + group
    table = input.permute(0, 2, 3, 1).reshape(-1, channels // offset_groups)
    sampled = bag_sum(table, index.reshape(-1, 4), weights.reshape(-1, 4))
    return sampled.view(batch * height * width, points, channels)


def _contract(columns: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Products (N * h * w, O) of columns (N * h * w, K, C) with the kernel (O, C / groups, kh, kw)."""
    pixels, points, channels = columns.shape
    outputs = weight.shape[0]
    columns = columns.view(pixels, points, groups, channels // groups).permute(2, 0, 1, 3).flatten(2)
    kernel = weight.view(groups, outputs // groups, channels // groups, points).transpose(2, 3).flatten(2)
    return (columns @ kernel.transpose(1, 2)).transpose(0, 1).reshape(pixels, outputs)

"""Deformable convolution v3: deformable attention over a regular grid, on one level.

InternImage, https://arxiv.org/abs/2211.05778. There is no kernel: every output pixel of a group is a weighted sum of K
sampled pixels of the same channels, and the weights are predicted like the offsets. So the attention operator does it.

Letters: N images, G groups of D channels, h x w outputs, K kernel points (one less without the centre).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from stn_det.checks import as_pair, check_float_shape, check_same_device, compute_dtype
from stn_det.errors import InputError
from stn_det.ops.ms_deform_attn import ms_deform_attn

Pair = tuple[int, int]


def deform_conv_v3(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    offset_scale: float = 1.0,
    remove_center: bool = False,
) -> Tensor:
    """Weighted sum of K displaced pixels around every output pixel, group by group.

    Two conventions differ from ``deform_conv2d``: offsets are (x, y), and kernel points run down the columns, point
    ``kx * kh + ky``. The centre of the window is pixel ``stride * i - padding + dilation * (k - 1) // 2``. Pixels
    outside the map read as 0; a NaN offset reads 0. Offsets and sums are float32 at least.

    Args:
        input: (N, H, W, G * D).
        offset: (N, h, w, G * K * 2), channels ordered ``[group][kx][ky][dx, dy]``, pixels before scaling.
        mask: (N, h, w, G * K), channels ordered ``[group][kx][ky]``, used as it is: the paper's softmax over the K
            points of a group comes before.
        kernel_size, stride, padding, dilation: an int or (vertical, horizontal).
        groups: blocks of channels with offsets and weights of their own.
        offset_scale: factor of the offsets and of the window, which grows around its centre.
        remove_center: leave the centre of a square, odd window out of the K points.

    Returns:
        (N, h, w, G * D) in the dtype of ``input``, differentiable once to input, offset and mask.

    Raises:
        InputError: for a wrong shape, dtype, device, group count or window.
    """
    kernel, stride = as_pair('kernel_size', kernel_size), as_pair('stride', stride)
    padding, dilation = as_pair('padding', padding), as_pair('dilation', dilation)
    size = output_size(input, kernel, stride, padding, dilation, groups)
    points = kernel_points(kernel, remove_center)
    check_float_shape('offset', offset, (input.shape[0], *size, 2 * groups * points))
    check_float_shape('mask', mask, (input.shape[0], *size, groups * points))
    offset, mask = offset.unflatten(-1, (groups, points, 2)), mask.unflatten(-1, (groups, points))
    return sample_window(input, offset, mask, kernel, stride, padding, dilation, offset_scale, remove_center)


def output_size(input: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Pair:
    """Check the input (N, H, W, C) and its groups; output size (h, w)."""
    check_float_shape('input', input, ('N', 'H', 'W', 'C'))
    if groups < 1 or input.shape[3] % groups:
        raise InputError(f'groups is {groups}, expected a positive divisor of the {input.shape[3]} channels of input')
    height, width = (
        (input.shape[1 + k] + 2 * padding[k] - dilation[k] * (kernel[k] - 1) - 1) // stride[k] + 1 for k in range(2)
    )
    if height < 1 or width < 1:
        raise InputError(
            f'input of size {tuple(input.shape[1:3])} is smaller than the window {kernel} with padding {padding} and '
            f'dilation {dilation}; expected an output of at least 1 x 1, raise the padding'
        )
    return height, width


def kernel_points(kernel: Pair, remove_center: bool) -> int:
    """Number K of kernel points."""
    if remove_center and (kernel[0] != kernel[1] or kernel[0] % 2 == 0):
        raise InputError(f'kernel_size is {kernel}, expected a square, odd window, because remove_center is set')
    return kernel[0] * kernel[1] - remove_center


def sample_window(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    offset_scale: float,
    remove_center: bool,
) -> Tensor:
    """Sums (N, h, w, G * D) of input (N, H, W, G * D) at offset (N, h, w, G, K, 2) with mask (N, h, w, G, K)."""
    check_same_device(input=input, offset=offset, mask=mask)
    height, width, groups = offset.shape[1:4]
    dtype, device = compute_dtype(input, offset), offset.device
    in_height, in_width = input.shape[1:3]
    reach = [dilation[k] * (kernel[k] - 1) // 2 for k in range(2)]
    rows, columns = (
        torch.arange(count, dtype=dtype, device=device) * stride[k] - padding[k] + reach[k]
        for k, count in enumerate((height, width))
    )
    ky, kx = (torch.arange(kernel[k], dtype=dtype, device=device) * dilation[k] - reach[k] for k in range(2))
    window = torch.stack([kx.repeat_interleave(kernel[0]), ky.repeat(kernel[1])], -1)  # (kw * kh, 2) as x, y
    if remove_center:
        middle = len(window) // 2
        window = torch.cat([window[:middle], window[middle + 1 :]])
    shift = (offset.to(dtype) + window) * offset_scale
    x = columns[:, None, None] + shift[..., 0]
    y = rows[:, None, None, None] + shift[..., 1]
    locations = torch.stack([(x + 0.5) / in_width, (y + 0.5) / in_height], -1)  # (N, h, w, G, K, 2)
    value = input.flatten(1, 2).unflatten(-1, (groups, -1))
    # Filled where they lie: torch.tensor would copy from the host, which waits and which no CUDA graph can capture.
    height_and_width = (torch.full((1, 1), extent, device=device) for extent in (in_height, in_width))
    shapes = torch.cat(list(height_and_width), 1)
    starts = torch.zeros(1, dtype=torch.long, device=device)
    weights = mask.to(dtype).flatten(1, 2).unsqueeze(3)  # (N, h * w, G, 1, K)
    output = ms_deform_attn(value, shapes, starts, locations.flatten(1, 2).unsqueeze(3), weights)
    return output.unflatten(1, (height, width))

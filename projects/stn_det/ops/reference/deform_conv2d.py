"""Deformable convolution in plain PyTorch, on any device."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stn_det.ops._sampling import bag_sum, bilinear_taps

Pair = tuple[int, int]


def deform_conv2d_reference(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    offset_groups: int,
) -> Tensor:
    """:func:`stn_det.ops.deform_conv2d` after its checks, without bias, on maps (N, H, W, C): gives (N, h, w, O)."""
    with torch.autocast(input.device.type, enabled=False):
        y, x = kernel_points(offset, weight.shape[2:], stride, padding, dilation, offset_groups)
        output = contract(sampled_columns(input, y, x, mask), weight, groups)
    return output.view(input.shape[0], *offset.shape[2:], weight.shape[0])


def deform_conv2d_backward_reference(
    grad_output: Tensor, input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, *rest: Any
) -> list[Tensor]:
    """Gradients of :func:`deform_conv2d_reference` to its four tensors, empty where the last argument says no."""
    *geometry, needed = rest
    leaves: list[Any] = [input, offset, weight, mask]
    leaves = [leaf.detach().requires_grad_() if need else leaf for leaf, need in zip(leaves, needed)]
    wanted = [leaf for leaf, need in zip(leaves, needed) if need]
    if not wanted:
        return [input.new_empty(0) for _ in leaves]
    with torch.enable_grad():
        output = deform_conv2d_reference(*leaves, *geometry)
    grads = iter(torch.autograd.grad(output, wanted, grad_output))
    return [next(grads) if need else input.new_empty(0) for need in needed]


def kernel_points(
    offset: Tensor, kernel: Sequence[int], stride: Pair, padding: Pair, dilation: Pair, offset_groups: int
) -> tuple[Tensor, Tensor]:
    """Sampling points y, x (N, h, w, K, D) in pixel indices of the input, from offsets (N, D * K * 2, h, w)."""
    batch, _, height, width = offset.shape
    shift = offset.view(batch, offset_groups, kernel[0] * kernel[1], 2, height, width).permute(0, 4, 5, 2, 1, 3)
    rows, columns = (torch.arange(n, device=offset.device, dtype=offset.dtype) for n in (height, width))
    ky, kx = (torch.arange(n, device=offset.device, dtype=offset.dtype) for n in kernel)
    base_y = (rows * stride[0] - padding[0])[:, None, None] + (ky * dilation[0]).repeat_interleave(kernel[1])
    base_x = (columns * stride[1] - padding[1])[None, :, None] + (kx * dilation[1]).repeat(kernel[0])
    return shift[..., 0] + base_y[..., None], shift[..., 1] + base_x[..., None]


def sampled_columns(input: Tensor, y: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
    """Columns (N * h * w, K, C) of maps (N, H, W, C) at y, x (N, h, w, K, D), times the mask (N, D * K, h, w)."""
    batch, in_height, in_width, channels = input.shape
    _, height, width, points, offset_groups = y.shape
    rows, columns, weights = bilinear_taps(y, x, in_height, in_width, zero_border=True)  # (N, h, w, K, D, 4)
    if mask is not None:
        factors = mask.view(batch, offset_groups, points, height, width).permute(0, 3, 4, 2, 1)
        weights = weights * factors[..., None]
    image = torch.arange(batch, device=input.device).view(-1, 1, 1, 1, 1, 1)
    group = torch.arange(offset_groups, device=input.device)[:, None]
    index = ((image * in_height + rows) * in_width + columns) * offset_groups + group
    table = input.reshape(-1, channels // offset_groups)
    sampled = bag_sum(table, index.reshape(-1, 4), weights.reshape(-1, 4))
    return sampled.view(batch * height * width, points, channels)


def contract(columns: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Products (N * h * w, O) of columns (N * h * w, K, C) with the kernel (O, C / groups, kh, kw)."""
    pixels, points, channels = columns.shape
    outputs = weight.shape[0]
    columns = columns.view(pixels, points, groups, channels // groups).permute(2, 0, 1, 3).flatten(2)
    kernel = weight.view(groups, outputs // groups, channels // groups, points).transpose(2, 3).flatten(2)
    return (columns @ kernel.transpose(1, 2)).transpose(0, 1).reshape(pixels, outputs)

"""Operators behind deformable convolution: the sampling is compiled, the products are torch's.

``deform_im2col`` samples the columns of a range of output pixels, ``deform_im2col_backward`` takes their gradient back;
``deform_conv2d`` and ``deform_conv2d_backward`` call them range by range. The columns are sampled again in the backward
pass, because keeping them would take K times the memory of the input.

Letters: N images, H x W pixels and C channels in, h x w pixels and O channels out, K = kh * kw kernel points, G groups
of the convolution, D groups of channels that share offsets. Maps are (N, H, W, C); offsets, mask and weight are laid
out as in :func:`stn_det.ops.deform_conv2d`. Weight and columns have the dtype of the maps. Offsets and mask, their
gradients and the sums of the gradient of the input are float64 where the maps are, else float32. Maps are float32 or
float64 on a CPU; on CUDA also of 16 bits, which tensor cores multiply.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from stn_det.ops._library import define, differentiate, implement, wants_determinism

# Columns of this many bytes are sampled, multiplied and deleted at a time. Those of a map of 256 x 256 pixels and 256
# channels take 600 MB in one piece; pieces that stay in the last cache are multiplied faster, too. Deleted before the
# next are made, because these then lie in the same memory: fresh pages cost more than the sampling.
COLUMN_BYTES = 8 << 20
# The same for CUDA. A product fills a large GPU from some 20,000 pixels on, whose columns no cache holds, so that what
# limits a piece is memory alone, and every piece costs a few launches.
COLUMN_BYTES_CUDA = 256 << 20

# Stride, padding, dilation, groups and groups of offsets go together everywhere: `geometry` in the functions below.
_GEOMETRY = 'int[2] stride, int[2] padding, int[2] dilation, int groups, int offset_groups'
_SAMPLING = f'Tensor input, Tensor offset, Tensor? mask, int[2] kernel, {_GEOMETRY}, int first, int last'
_CONVOLUTION = f'Tensor input, Tensor offset, Tensor weight, Tensor? mask, {_GEOMETRY}'


def _fake_columns(input: Tensor, offset: Tensor, mask: Tensor | None, kernel: Sequence[int], *rest: Any) -> Tensor:
    *_, groups, _, first, last = rest
    return input.new_empty(groups, last - first, kernel[0] * kernel[1], input.shape[3] // groups)


def _fake_columns_backward(*arguments: Any) -> None:
    pass


def _fake(input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, *geometry: Any) -> Tensor:
    return input.new_empty(input.shape[0], *offset.shape[2:], weight.shape[0])


def _fake_backward(
    grad_output: Tensor, input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, *rest: Any
) -> tuple[Tensor, ...]:
    return tuple(
        input.new_empty(0) if part is None or not need else part.new_empty(part.shape)
        for part, need in zip((input, offset, weight, mask), rest[-1])
    )


def _forward(input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, *geometry: Any) -> Tensor:
    groups = geometry[3]
    input, offset = input.contiguous(), offset.contiguous()
    mask = None if mask is None else mask.contiguous()
    output = _fake(input, offset, weight, mask)
    rows = output.flatten(0, 2)
    kernel = _kernel_matrix(weight, groups).transpose(1, 2)  # (G, K * C / G, O / G)
    with torch.autocast(input.device.type, enabled=False):
        for first, last in _ranges(len(rows), input, weight):
            columns = torch.ops.stn_det.deform_im2col(input, offset, mask, weight.shape[2:], *geometry, first, last)
            if groups == 1:
                torch.mm(columns[0].flatten(1), kernel[0], out=rows[first:last])
            else:
                rows[first:last] = torch.bmm(columns.flatten(2), kernel).transpose(0, 1).flatten(1)
            del columns
    return output


def _backward(
    grad_output: Tensor, input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, *rest: Any
) -> tuple[Tensor, ...]:
    *geometry, needed = rest
    groups = geometry[3]
    input, offset = input.contiguous(), offset.contiguous()
    mask = None if mask is None else mask.contiguous()
    kernel = _kernel_matrix(weight, groups)  # (G, O / G, K * C / G)
    rows = grad_output.flatten(0, 2).unflatten(1, (groups, -1)).transpose(0, 1)  # (G, N * h * w, O / G)
    # Gradients of 16 bits are summed over all ranges in the dtype of the offsets, and rounded once.
    of_input, of_offset, of_weight, of_mask = (
        torch.zeros_like(part, dtype=offset.dtype) if need and part is not None else None
        for part, need in zip((input, offset, kernel, mask), needed)
    )
    with torch.autocast(input.device.type, enabled=False):
        for first, last in _ranges(rows.shape[1], input, weight):
            where = (input, offset, mask, weight.shape[2:], *geometry, first, last)
            grad = rows[:, first:last]
            if needed[0] or needed[1] or needed[3]:
                columns = torch.bmm(grad, kernel)
                torch.ops.stn_det.deform_im2col_backward(
                    columns, *where, of_input, of_offset, of_mask, wants_determinism()
                )
                del columns
            if of_weight is not None:
                columns = torch.ops.stn_det.deform_im2col(*where)
                _add_product(of_weight, grad.transpose(1, 2), columns.flatten(2))
                del columns
    if of_input is not None:
        of_input = of_input.to(input.dtype)
    if of_weight is not None:
        of_weight = _kernel_tensor(of_weight, weight).to(weight.dtype)
    grads = of_input, of_offset, of_weight, of_mask
    return tuple(input.new_empty(0) if grad is None else grad for grad in grads)


def _add_product(sums: Tensor, first: Tensor, second: Tensor) -> None:
    """Add to sums (G, A, B) the product of (G, A, P) and (G, P, B), whose factors may be narrower than the sums."""
    if first.dtype == sums.dtype:
        sums.baddbmm_(first, second)
    elif first.is_cuda:
        sums += torch.bmm(first, second, out_dtype=sums.dtype)
    else:  # kernels of CUDA on a CPU, where torch knows no such product
        sums.baddbmm_(first.to(sums.dtype), second.to(sums.dtype))


def _ranges(pixels: int, input: Tensor, weight: Tensor) -> Iterator[tuple[int, int]]:
    """Ranges of output pixels, of one length but the last, whose columns fit what is set aside for them."""
    budget = COLUMN_BYTES_CUDA if input.is_cuda else COLUMN_BYTES
    bytes_a_pixel = input.shape[3] * weight.shape[2] * weight.shape[3] * input.element_size()
    ranges = -(-pixels // max(64, budget // max(1, bytes_a_pixel)))
    step = -(-pixels // max(1, ranges))
    return ((first, min(first + step, pixels)) for first in range(0, pixels, max(1, step)))


def _kernel_matrix(weight: Tensor, groups: int) -> Tensor:
    """Kernel (O, C / G, kh, kw) as matrices (G, O / G, K * C / G) whose columns are in the order of those sampled."""
    outputs, channels, height, width = weight.shape
    return weight.reshape(groups, outputs // groups, channels, height * width).transpose(2, 3).flatten(2)


def _kernel_tensor(matrix: Tensor, like: Tensor) -> Tensor:
    """Inverse of :func:`_kernel_matrix`."""
    outputs, channels, height, width = like.shape
    return matrix.view(outputs, height * width, channels).transpose(1, 2).reshape(like.shape).contiguous()


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.geometry = inputs[4:]


def _differentiate(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    needed = list(ctx.needs_input_grad[:4])
    grads = torch.ops.stn_det.deform_conv2d_backward(grad_output, *ctx.saved_tensors, *ctx.geometry, needed)
    return *(grad if need else None for grad, need in zip(grads, needed)), *(None for _ in ctx.geometry)


define(f'deform_im2col({_SAMPLING}) -> Tensor', _fake_columns)
define(
    f'deform_im2col_backward(Tensor grad_columns, {_SAMPLING}, Tensor(a!)? grad_input, Tensor(b!)? grad_offset, '
    'Tensor(c!)? grad_mask, bool deterministic=False) -> ()',
    _fake_columns_backward,
)
define(f'deform_conv2d({_CONVOLUTION}) -> Tensor', _fake)
define(
    f'deform_conv2d_backward(Tensor grad_output, {_CONVOLUTION}, bool[4] needed) -> (Tensor, Tensor, Tensor, Tensor)',
    _fake_backward,
)
implement('deform_conv2d', _forward)
implement('deform_conv2d_backward', _backward)
differentiate('deform_conv2d', _differentiate, _setup)

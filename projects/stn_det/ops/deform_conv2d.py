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
from stn_det.ops import _deform  # noqa: F401  defines the operators
from stn_det.ops._library import is_compiled
from stn_det.ops.reference.deform_conv2d import Pair, deform_conv2d_backward_reference, deform_conv2d_reference


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

    Pixels outside the map read as 0; a NaN offset reads 0. Offsets, mask and sums are float32 at least, and so are the
    factors of the products, with one exception: where ``input`` has 16 bits on CUDA, the sampled pixels and ``weight``
    are rounded to its dtype and multiplied by tensor cores. Autocast changes nothing.

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
        (N, O, h, w) in the dtype and memory format of ``input``, differentiable once to all tensors. Channels-last is
        the faster one. On a CPU the sampling does not depend on the number of threads; the products are torch's. On
        CUDA the gradient of ``input`` depends on the order of threads in its last bits unless
        ``torch.use_deterministic_algorithms`` is on.

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
    wide = compute_dtype(input, offset, weight)
    dtype = _product_dtype(input, wide)
    maps = _to_nhwc(input.to(dtype))
    factors = None if mask is None else mask.to(wide)
    run = torch.ops.stn_det.deform_conv2d if is_compiled('deform_im2col', input.device) else deform_conv2d_reference
    output = run(maps, offset.to(wide), weight.to(dtype), factors, strides, paddings, dilations, groups, offset_groups)
    if bias is not None:
        output = output + bias.to(dtype)
    result = output.to(input.dtype).permute(0, 3, 1, 2)
    return result if is_channels_last(input) else result.contiguous()


def deform_conv2d_backward(
    grad_output: Tensor,
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    offset_groups: int,
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Gradients of :func:`deform_conv2d` for callers without an autograd graph; the arguments are not checked.

    Args:
        grad_output: (N, O, h, w).
        needed: whether to compute the gradients of input, offset, weight and mask. Only what these need is done; where
            the operator is compiled, the forward pass is not repeated.

    Returns:
        Gradients of input, offset, weight and mask like these, None where not needed.
    """
    tensors = input, offset, weight, mask
    needed = [bool(need) and tensor is not None for need, tensor in zip(needed, tensors)]
    wide = compute_dtype(input, offset, weight)
    dtype = _product_dtype(input, wide)
    compiled = is_compiled('deform_im2col', input.device)
    run = torch.ops.stn_det.deform_conv2d_backward if compiled else deform_conv2d_backward_reference
    with torch.no_grad():
        of_input, *others = run(
            _to_nhwc(grad_output).to(dtype),
            _to_nhwc(input).to(dtype),
            offset.to(wide),
            weight.to(dtype),
            None if mask is None else mask.to(wide),
            *(stride, padding, dilation, groups, offset_groups, needed),
        )
    grads = of_input.permute(0, 3, 1, 2) if needed[0] else of_input, *others
    return tuple(
        None if part is None or not need else grad.to(part.dtype) for grad, part, need in zip(grads, tensors, needed)
    )


def _product_dtype(input: Tensor, wide: torch.dtype) -> torch.dtype:
    """Dtype of the sampled pixels and the kernel where offsets have the dtype `wide`."""
    narrow = input.dtype in (torch.float16, torch.bfloat16) and wide == torch.float32
    return input.dtype if narrow and _has_tensor_cores(input.device) else wide


def _has_tensor_cores(device: torch.device) -> bool:
    return device.type == 'cuda' and is_compiled('deform_im2col', device)


def _to_nhwc(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).contiguous()


def output_size(input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    """Output size (h, w) of a convolution, at least 1 x 1."""
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


def is_channels_last(input: Tensor) -> bool:
    """Whether the channels of maps (N, C, H, W) lie side by side in memory."""
    return input.is_contiguous(memory_format=torch.channels_last) and not input.is_contiguous()


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

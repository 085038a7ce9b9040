"""Deformable, masked and rotated convolution, with the call signatures of mmcv's extension."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stn_det import ops
from stn_det.ops.deform_conv2d import deform_conv2d_backward


def deform_conv_forward(
    input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor, **geometry: int
) -> None:
    """Deformable Convolutional Networks, https://arxiv.org/abs/1703.06211: write the result into ``output``."""
    output.copy_(ops.deform_conv2d(input, offset, weight, **_layer(geometry)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Add the gradients of input and offset to ``gradInput`` and ``gradOffset``."""
    needed = (True, True, False, False)
    grads = deform_conv2d_backward(gradOutput, input, offset, weight, None, **_layer(geometry), needed=needed)
    _accumulate((gradInput, gradOffset), grads)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **geometry: int,
) -> None:
    """Add ``scale`` times the gradient of the weight to ``gradWeight``."""
    weight = torch.zeros_like(gradWeight)  # the result is linear in the weight: its gradient does not depend on it
    needed = (False, False, True, False)
    grads = deform_conv2d_backward(gradOutput, input, offset, weight, None, **_layer(geometry), needed=needed)
    _accumulate((None, None, gradWeight), grads, scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    *,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Deformable ConvNets v2, https://arxiv.org/abs/1811.11168: write the result into ``output``."""
    layer = _modulated_layer(geometry)
    output.copy_(ops.deform_conv2d(input, offset, weight, bias if with_bias else None, mask=mask, **layer))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    *,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Add the gradients of all five tensors to the ``grad_*`` buffers."""
    grads = deform_conv2d_backward(
        grad_output, input, offset, weight, mask, **_modulated_layer(geometry), needed=(True,) * 4
    )
    _accumulate((grad_input, grad_offset, grad_weight, grad_mask), grads)
    if with_bias:
        grad_bias.add_(grad_output.sum((0, 2, 3)))


def _layer(geometry: dict[str, int]) -> dict[str, Any]:
    """Options of our operator, from those of mmcv's first version."""
    return dict(
        stride=(geometry['dH'], geometry['dW']),
        padding=(geometry['padH'], geometry['padW']),
        dilation=(geometry['dilationH'], geometry['dilationW']),
        groups=geometry['group'],
        offset_groups=geometry['deformable_group'],
    )


def _modulated_layer(geometry: dict[str, int]) -> dict[str, Any]:
    """Options of our operator, from those of mmcv's second version."""
    return dict(
        stride=(geometry['stride_h'], geometry['stride_w']),
        padding=(geometry['pad_h'], geometry['pad_w']),
        dilation=(geometry['dilation_h'], geometry['dilation_w']),
        groups=geometry['group'],
        offset_groups=geometry['deformable_group'],
    )


def _accumulate(buffers: Sequence[Tensor | None], grads: Sequence[Tensor | None], scale: float = 1) -> None:
    """Add gradients to the buffers that mmcv passes."""
    for buffer, grad in zip(buffers, grads):
        if buffer is not None and grad is not None:
            buffer.add_(grad, alpha=scale)


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Write the windows of image 0 at the masked positions into ``col``, (C * kernel_h * kernel_w, positions)."""
    padded = F.pad(im[0], (pad_w, pad_w, pad_h, pad_h))  # (C, H, W)
    rows = mask_h_idx[None, None] + torch.arange(kernel_h, device=im.device)[:, None, None]
    columns = mask_w_idx[None, None] + torch.arange(kernel_w, device=im.device)[None, :, None]
    col.copy_(padded[:, rows, columns].reshape(col.shape))


def masked_col2im_forward(
    col: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, im: Tensor, height: int, width: int, channels: int
) -> None:
    """Write the columns (C, positions) to the masked positions of image 0 of ``im``."""
    im[0][:, mask_h_idx, mask_w_idx] = col.reshape(channels, -1)


def active_rotated_filter_forward(input: Tensor, indices: Tensor, output: Tensor) -> None:
    """Rotated copies of oriented filters, Oriented Response Networks, https://arxiv.org/abs/1701.01833.

    Args:
        input: filters (out, in, orientations, kh, kw).
        indices: (orientations, kh, kw, rotations), where each weight goes in each rotation, counted from 1.
        output: (out * rotations, in * orientations, kh, kw), written in place.
    """
    planes, rotated = _filter_views(input, indices, output)
    for rotation, target in enumerate(_targets(indices)):
        rotated[:, rotation].index_copy_(2, target, planes)


def active_rotated_filter_backward(grad_out: Tensor, indices: Tensor, grad_in: Tensor) -> None:
    """Write the gradient of the filters into ``grad_in``: each weight collects the gradients of its copies."""
    planes, rotated = _filter_views(grad_in, indices, grad_out.contiguous())
    copies = [rotated[:, k].index_select(2, target) for k, target in enumerate(_targets(indices))]
    planes.copy_(torch.stack(copies).sum(0))


def _filter_views(filters: Tensor, indices: Tensor, rotated: Tensor) -> tuple[Tensor, Tensor]:
    out_planes, in_planes = filters.shape[:2]
    entries = indices[..., 0].numel()
    return filters.view(out_planes, in_planes, entries), rotated.view(out_planes, -1, in_planes, entries)


def _targets(indices: Tensor) -> tuple[Tensor, ...]:
    return (indices.flatten(0, 2).long() - 1).unbind(1)


OPERATORS: dict[str, Callable[..., object]] = {
    'deform_conv_forward': deform_conv_forward,
    'deform_conv_backward_input': deform_conv_backward_input,
    'deform_conv_backward_parameters': deform_conv_backward_parameters,
    'modulated_deform_conv_forward': modulated_deform_conv_forward,
    'modulated_deform_conv_backward': modulated_deform_conv_backward,
    'masked_im2col_forward': masked_im2col_forward,
    'masked_col2im_forward': masked_col2im_forward,
    'active_rotated_filter_forward': active_rotated_filter_forward,
    'active_rotated_filter_backward': active_rotated_filter_backward,
}

"""Multi-scale deformable attention and CARAFE, with the call signatures of mmcv's extension."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stn_det import ops

from .gradient import vector_jacobian


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Deformable DETR, https://arxiv.org/abs/2010.04159: returns (N, Q, G*D); any batch size does."""
    return ops.ms_deform_attn(
        value, value_spatial_shapes, value_level_start_index, sampling_locations, attention_weights
    )


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients of values, locations and weights into the ``grad_*`` buffers."""
    grads = vector_jacobian(
        lambda v, s, a: ops.ms_deform_attn(v, value_spatial_shapes, value_level_start_index, s, a),
        (value, sampling_locations, attention_weights),
        grad_output,
    )
    for buffer, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads):
        buffer.copy_(grad)


def reassemble(features: Tensor, masks: Tensor, kernel_size: int, group_size: int, scale_factor: int) -> Tensor:
    """CARAFE, https://arxiv.org/abs/1905.02188: every output pixel is a weighted sum over a window of the input.

    Args:
        features: (N, C, H, W).
        masks: (N, group_size * kernel_size**2, H * scale_factor, W * scale_factor), the weights.

    Returns:
        (N, C, H * scale_factor, W * scale_factor).
    """
    n, c, h, w = features.shape
    windows = F.unfold(features, kernel_size, padding=kernel_size // 2)
    windows = windows.view(n, group_size, c // group_size, kernel_size**2, h, w)
    weights = masks.view(n, group_size, kernel_size**2, h, scale_factor, w, scale_factor)
    output = torch.einsum('ngckhw,ngkhiwj->ngchiwj', windows, weights)
    return output.reshape(n, c, h * scale_factor, w * scale_factor)


def carafe_naive_forward(
    features: Tensor, masks: Tensor, output: Tensor, kernel_size: int, group_size: int, scale_factor: int
) -> None:
    """Write the reassembled features into ``output``."""
    output.copy_(reassemble(features, masks, kernel_size, group_size, scale_factor))


def carafe_naive_backward(
    top_grad: Tensor,
    features: Tensor,
    masks: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients of features and masks into ``bottom_grad`` and ``mask_grad``."""
    grads = vector_jacobian(
        lambda f, m: reassemble(f, m, kernel_size, group_size, scale_factor), (features, masks), top_grad
    )
    bottom_grad.copy_(grads[0])
    mask_grad.copy_(grads[1])


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the reassembled features into ``output`` and keep the input in ``rfeatures`` for the backward."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    top_grad: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rtop_grad: Tensor,
    rbottom_grad_hs: Tensor,
    rbottom_grad: Tensor,
    rmask_grad: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients of features and masks; ``rfeatures`` is what :func:`carafe_forward` kept."""
    carafe_naive_backward(top_grad, rfeatures, masks, bottom_grad, mask_grad, kernel_size, group_size, scale_factor)


OPERATORS: dict[str, Callable[..., object]] = {
    'ms_deform_attn_forward': ms_deform_attn_forward,
    'ms_deform_attn_backward': ms_deform_attn_backward,
    'carafe_naive_forward': carafe_naive_forward,
    'carafe_naive_backward': carafe_naive_backward,
    'carafe_forward': carafe_forward,
    'carafe_backward': carafe_backward,
}

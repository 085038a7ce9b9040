"""Multi-scale deformable attention.

Deformable DETR, https://arxiv.org/abs/2010.04159.

Letters: N images, S positions of all levels, G heads, D channels a head, Q queries, L levels, K points.
"""

from typing import Any

import torch
from torch import Tensor

from stn_det.checks import check_float_shape, check_same_device, check_shape, compute_dtype
from stn_det.errors import InputError
from stn_det.ops._library import define, differentiate, is_compiled, wants_determinism
from stn_det.ops.reference.ms_deform_attn import ms_deform_attn_reference


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Weighted sum of bilinear samples of several feature levels.

    A location (0, 0) is the outer corner of the first pixel of a level, (1, 1) that of the last. Pixels outside a level
    read as 0, as does a NaN location. Locations, weights and sums are float32 at least, whatever the dtype of
    ``value``.

    Args:
        value: (N, S, G, D), the levels flattened row by row and joined.
        spatial_shapes: (L, 2) int64, rows (H, W), whose products sum up to S.
        level_start_index: (L,) int64, first position of each level.
        sampling_locations: (N, Q, G, L, K, 2) as (x, y) in fractions of the level.
        attention_weights: (N, Q, G, L, K), used as they are.

    Returns:
        (N, Q, G * D) in the dtype of ``value``, differentiable once to value, locations and weights. On a CPU the
        compiled result and its gradients do not depend on the number of threads. Where queries are many it
        needs room for a float32 copy of the value of one image; the gradient, for two heads of it a thread.

    Raises:
        InputError: for a wrong shape, dtype or device.
    """
    levels = check_levels(value, spatial_shapes, level_start_index)
    batch, _, heads, _ = value.shape
    check_float_shape('sampling_locations', sampling_locations, (batch, 'Q', heads, levels, 'K', 2))
    check_float_shape('attention_weights', attention_weights, sampling_locations.shape[:-1])
    check_same_device(value=value, sampling_locations=sampling_locations, attention_weights=attention_weights)
    dtype = compute_dtype(value, sampling_locations)
    locations, weights = sampling_locations.to(dtype), attention_weights.to(dtype)
    if not is_compiled('ms_deform_attn', value.device):
        return ms_deform_attn_reference(value, spatial_shapes, level_start_index, locations, weights)
    wide = value.double() if dtype == torch.float64 else value
    shapes, starts = spatial_shapes.long(), level_start_index.long()
    return torch.ops.stn_det.ms_deform_attn(wide, shapes, starts, locations, weights).to(value.dtype)


def check_levels(value: Tensor, spatial_shapes: Tensor, level_start_index: Tensor) -> int:
    """Check the value (N, S, G, D) and how its positions make up levels; returns the number of levels."""
    check_float_shape('value', value, ('N', 'S', 'G', 'D'))
    check_shape('spatial_shapes', spatial_shapes, ('L', 2))
    levels = spatial_shapes.shape[0]
    check_shape('level_start_index', level_start_index, (levels,))
    check_same_device(value=value, spatial_shapes=spatial_shapes, level_start_index=level_start_index)
    for name, tensor in (('spatial_shapes', spatial_shapes), ('level_start_index', level_start_index)):
        if tensor.is_floating_point():
            raise InputError(f'{name} has dtype {tensor.dtype}, expected int64; call {name}.long()')
    return levels


def _fake(value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    batch, _, heads, channels = value.shape
    return value.new_empty(batch, locations.shape[1], heads * channels)


def _fake_backward(
    grad_output: Tensor,
    value: Tensor,
    shapes: Tensor,
    starts: Tensor,
    locations: Tensor,
    weights: Tensor,
    deterministic: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    grad_value = value.new_empty(value.shape, dtype=locations.dtype)
    return grad_value, locations.new_empty(locations.shape), weights.new_empty(weights.shape)


def _setup(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    value, shapes, starts, locations, weights = ctx.saved_tensors
    if grad_output.device.type == 'cpu':  # kernels of CUDA read it in the dtype of the value
        grad_output = grad_output.to(locations.dtype)
    grads = torch.ops.stn_det.ms_deform_attn_backward(
        grad_output, value, shapes, starts, locations, weights, wants_determinism()
    )
    return grads[0].to(value.dtype), None, None, grads[1], grads[2]


define(
    'ms_deform_attn(Tensor value, Tensor spatial_shapes, Tensor level_start_index, Tensor sampling_locations, '
    'Tensor attention_weights) -> Tensor',
    _fake,
)
define(
    'ms_deform_attn_backward(Tensor grad_output, Tensor value, Tensor spatial_shapes, Tensor level_start_index, '
    'Tensor sampling_locations, Tensor attention_weights, bool deterministic=False) -> (Tensor, Tensor, Tensor)',
    _fake_backward,
)
differentiate('ms_deform_attn', _backward, _setup)

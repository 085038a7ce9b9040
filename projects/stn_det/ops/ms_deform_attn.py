"""Multi-scale deformable attention.

Deformable DETR, https://arxiv.org/abs/2010.04159.

Letters: N images, S positions of all levels, G heads, D channels a head, Q queries, L levels, K points.
"""

import torch
from torch import Tensor

from stn_det.checks import check_float_shape, check_same_device, check_shape, compute_dtype
from stn_det.errors import InputError
from stn_det.ops._sampling import bag_sum, bilinear_taps


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Weighted sum of bilinear samples of several feature levels.

    A location (0, 0) is the outer corner of the first pixel of a level, (1, 1) that of the last. Pixels outside a level
    read as 0, as does a NaN location. Locations are used in float32 at least, whatever the dtype of ``value``.

    Args:
        value: (N, S, G, D), the levels flattened row by row and joined.
        spatial_shapes: (L, 2) int64, rows (H, W), whose products sum up to S.
        level_start_index: (L,) int64, first position of each level.
        sampling_locations: (N, Q, G, L, K, 2) as (x, y) in fractions of the level.
        attention_weights: (N, Q, G, L, K), used as they are.

    Returns:
        (N, Q, G * D) in the dtype of ``value``, differentiable once to value, locations and weights.

    Raises:
        InputError: for a wrong shape, dtype or device.
    """
    check_float_shape('value', value, ('N', 'S', 'G', 'D'))
    check_shape('spatial_shapes', spatial_shapes, ('L', 2))
    batch, positions, heads, channels = value.shape
    levels = spatial_shapes.shape[0]
    check_shape('level_start_index', level_start_index, (levels,))
    check_float_shape('sampling_locations', sampling_locations, (batch, 'Q', heads, levels, 'K', 2))
    check_float_shape('attention_weights', attention_weights, sampling_locations.shape[:-1])
    check_same_device(value=value, sampling_locations=sampling_locations, attention_weights=attention_weights)
    check_same_device(value=value, spatial_shapes=spatial_shapes, level_start_index=level_start_index)
    for name, tensor in (('spatial_shapes', spatial_shapes), ('level_start_index', level_start_index)):
        if tensor.is_floating_point():
            raise InputError(f'{name} has dtype {tensor.dtype}, expected int64; call {name}.long()')
    dtype = compute_dtype(value, sampling_locations)
    index, weights = attention_taps(
        sampling_locations.to(dtype), attention_weights.to(dtype), spatial_shapes, level_start_index, positions
    )
    table = value.to(dtype).reshape(-1, channels)
    output = bag_sum(table, index.flatten(0, 2).flatten(1), weights.flatten(0, 2).flatten(1))
    return output.view(batch, -1, heads * channels).to(value.dtype)


def attention_taps(
    locations: Tensor, attention: Tensor, spatial_shapes: Tensor, level_start_index: Tensor, positions: int
) -> tuple[Tensor, Tensor]:
    """Rows of the (N * S * G, D) value table and their weights, both (N, Q, G, L, K, 4)."""
    batch, _, heads = locations.shape[:3]
    height, width = (spatial_shapes[:, k].view(-1, 1) for k in range(2))  # (L, 1)
    x, y = locations[..., 0] * width - 0.5, locations[..., 1] * height - 0.5
    rows, columns, weights = bilinear_taps(y, x, height, width, zero_border=True)
    image = torch.arange(batch, device=locations.device).view(-1, 1, 1, 1, 1, 1)
    head = torch.arange(heads, device=locations.device).view(-1, 1, 1, 1)
    position = image * positions + level_start_index.view(-1, 1, 1) + rows * width[..., None] + columns
    return position * heads + head, weights * attention[..., None]

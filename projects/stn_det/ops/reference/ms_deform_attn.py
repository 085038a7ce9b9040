"""Multi-scale deformable attention in plain PyTorch, on any device."""

import torch
from torch import Tensor

from stn_det.ops._sampling import bag_sum, bilinear_taps


def ms_deform_attn_reference(
    value: Tensor, spatial_shapes: Tensor, level_start_index: Tensor, locations: Tensor, weights: Tensor
) -> Tensor:
    """:func:`stn_det.ops.ms_deform_attn` after its checks; locations and weights in the dtype that sums are kept in."""
    batch, positions, heads, channels = value.shape
    index, taps = attention_taps(locations, weights, spatial_shapes, level_start_index, positions)
    table = value.to(locations.dtype).reshape(-1, channels)
    output = bag_sum(table, index.flatten(0, 2).flatten(1), taps.flatten(0, 2).flatten(1))
    return output.view(batch, locations.shape[1], heads * channels).to(value.dtype)


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

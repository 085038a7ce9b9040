"""Deformable attention from references, offsets and logits in plain PyTorch, on any device."""

import torch
from torch import Tensor

from stn_det.ops.reference.ms_deform_attn import ms_deform_attn_reference


def ms_deform_attn_fused_reference(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    references: Tensor,
    offsets: Tensor,
    logits: Tensor,
) -> Tensor:
    """:func:`stn_det.ops.ms_deform_attn_fused` after its checks; all but ``value`` in the dtype of sums."""
    locations = sampling_locations(references, offsets, spatial_shapes)
    weights = logits.softmax(-1).view(offsets.shape[:-1])
    return ms_deform_attn_reference(value, spatial_shapes, level_start_index, locations, weights)


def sampling_locations(references: Tensor, offsets: Tensor, spatial_shapes: Tensor) -> Tensor:
    """Locations (N, Q, G, L, K, 2) in fractions of the level.

    Args:
        references: (N, Q, L, 2, 4 or 5) in fractions of the level and radians.
        offsets: (N, Q, G, L, K, 2): pixels for points, K-ths of half a box for boxes.
        spatial_shapes: (L, 2) rows (H, W).
    """
    size = spatial_shapes.flip(1).to(offsets.dtype)[:, None]  # (L, 1, 2) as (W, H)
    reference = references[:, :, None, :, None]  # (N, Q, 1, L, 1, R)
    if reference.shape[-1] == 2:
        return reference + offsets / size
    points = max(1, offsets.shape[4])
    shift = offsets / points * (0.5 * reference[..., 2:4] * size)  # pixels along the sides of the box
    if reference.shape[-1] == 5:
        cos, sin = reference[..., 4].cos(), reference[..., 4].sin()
        x, y = shift.unbind(-1)
        shift = torch.stack([cos * x - sin * y, sin * x + cos * y], -1)
    return reference[..., :2] + shift / size

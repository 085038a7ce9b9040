"""RoIAlign in plain PyTorch, on any device."""

import torch
from torch import Tensor

from stn_det.ops._roi_grid import pool_grid


def roi_align_reference(
    input: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    pool_mode: str,
) -> Tensor:
    """:func:`stn_det.ops.roi_align` after its checks; rois in the dtype to compute in."""
    x1, y1, x2, y2 = (rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)).unbind(1)
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = width.clamp(min=1), height.clamp(min=1)

    def locate(roi: Tensor, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        return y1[roi] + v * height[roi], x1[roi] + u * width[roi]

    sizes = torch.stack([height, width])
    pooled = pool_grid(input.to(rois.dtype), rois, sizes, locate, output_size, sampling_ratio, pool_mode)
    return pooled.to(input.dtype)

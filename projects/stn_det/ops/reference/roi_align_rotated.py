"""RoIAlign of rotated regions in plain PyTorch, on any device."""

import torch
from torch import Tensor

from stn_det.ops._roi_grid import pool_grid


def roi_align_rotated_reference(
    input: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> Tensor:
    """:func:`stn_det.ops.roi_align_rotated` after its checks; rois in the dtype to compute in."""
    finite = rois.isfinite().all(1)
    boxes = torch.where(finite[:, None], rois[:, 1:], 0.0)  # also stops the gradient of the others
    cx, cy, width, height = (boxes[:, :4] * spatial_scale).unbind(1)
    theta = boxes[:, 4] if clockwise else -boxes[:, 4]
    if aligned:
        cx, cy = cx - 0.5, cy - 0.5
    else:
        width, height = width.clamp(min=1), height.clamp(min=1)
    cos, sin = theta.cos(), theta.sin()

    def locate(roi: Tensor, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        along_x, along_y = (u - 0.5) * width[roi], (v - 0.5) * height[roi]
        x = cx[roi] + cos[roi] * along_x - sin[roi] * along_y
        y = cy[roi] + sin[roi] * along_x + cos[roi] * along_y
        return y, x

    sizes = torch.stack([height, width])
    pooled = pool_grid(input.to(rois.dtype), rois, sizes, locate, output_size, sampling_ratio, 'avg')
    return pooled.to(input.dtype)

"""RoIAlign of rotated regions, with a gradient to the regions.

Rotated RoIs as in RRPN, https://arxiv.org/abs/1703.01086; sampling as in RoIAlign, https://arxiv.org/abs/1703.06870.
Argument meaning follows mmcv.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from stn_det.checks import compute_dtype
from stn_det.ops._roi_grid import check_roi_arguments, pool_grid


def roi_align_rotated(
    input: Tensor,
    rois: Tensor,
    output_size: int | Sequence[int],
    spatial_scale: float,
    sampling_ratio: int = 0,
    aligned: bool = True,
    clockwise: bool = False,
) -> Tensor:
    """Average features of rotated regions on a regular grid of bins that turns with the region.

    Mind ``clockwise``: boxes of this package turn clockwise on screen and need ``clockwise=True``; the default is that
    of mmcv. Points up to one pixel outside the map read its edge, further ones read 0. RoIs that are not finite give 0.
    The adaptive grid has at most 256 points a bin and axis. Half-precision inputs are computed in float32.

    Args:
        input: (N, C, H, W).
        rois: (R, 6) as (batch index, cx, cy, w, h, theta) in image pixels and radians.
        output_size: bins (along h, along w) or one number.
        spatial_scale: feature pixels per image pixel.
        sampling_ratio: points a bin and axis; 0 takes one a feature pixel, rounded up.
        aligned: subtract half a feature pixel, so that pixel centres lie at half-integers; else RoIs are at least one
            feature pixel large.
        clockwise: theta is positive clockwise on screen (y down); else counter-clockwise.

    Returns:
        (R, C, along h, along w) in the dtype of ``input``, differentiable to ``input`` and to cx, cy, w, h and theta.

    Raises:
        InputError: for a wrong shape, dtype, device or option.
    """
    size = check_roi_arguments(input, rois, 6, output_size, sampling_ratio, 'avg')
    dtype = compute_dtype(input, rois)
    finite = rois.isfinite().all(1)
    boxes = torch.where(finite[:, None], rois[:, 1:].to(dtype), 0.0)  # also stops the gradient of the others
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
    pooled = pool_grid(input.to(dtype), rois, sizes, locate, size, sampling_ratio, 'avg')
    return pooled.to(input.dtype)

"""RoIAlign: bilinear features of axis-aligned regions.

Mask R-CNN, https://arxiv.org/abs/1703.06870. Argument meaning follows torchvision and mmcv.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from stn_det.checks import compute_dtype
from stn_det.ops._roi_grid import check_roi_arguments, pool_grid


def roi_align(
    input: Tensor,
    rois: Tensor,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
    pool_mode: str = 'avg',
) -> Tensor:
    """Features of axis-aligned regions on a regular grid of bins.

    Points up to one pixel outside the map read its edge, further ones read 0. RoIs that are not finite give 0. The
    adaptive grid has at most 256 points a bin and axis. Half-precision inputs are computed in float32.

    Args:
        input: (N, C, H, W).
        rois: (R, 5) as (batch index, x1, y1, x2, y2) in image pixels; gets no gradient.
        output_size: bins (vertical, horizontal) or one number.
        spatial_scale: feature pixels per image pixel.
        sampling_ratio: points a bin and axis; 0 takes one a feature pixel, rounded up.
        aligned: subtract half a feature pixel, so that pixel centres lie at half-integers; else RoIs are at least one
            feature pixel large, as in the first version of the operator.
        pool_mode: ``'avg'`` or ``'max'`` over the points of a bin.

    Returns:
        (R, C, vertical, horizontal) in the dtype of ``input``, differentiable to ``input``.

    Raises:
        InputError: for a wrong shape, dtype, device or option.
    """
    size = check_roi_arguments(input, rois, 5, output_size, sampling_ratio, pool_mode)
    dtype = compute_dtype(input)
    rois = rois.detach().to(dtype)
    x1, y1, x2, y2 = (rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)).unbind(1)
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = width.clamp(min=1), height.clamp(min=1)

    def locate(roi: Tensor, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        return y1[roi] + v * height[roi], x1[roi] + u * width[roi]

    sizes = torch.stack([height, width])
    pooled = pool_grid(input.to(dtype), rois, sizes, locate, size, sampling_ratio, pool_mode)
    return pooled.to(input.dtype)

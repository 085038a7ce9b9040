"""Bilinear sampling as RoIAlign defines it, and the points at which a region is sampled."""

from collections.abc import Iterator

import torch
from torch import Tensor

_SAMPLES_AT_ONCE = 1 << 18  # with 256 channels of float32, 256 MB


def sample_bilinear(features: Tensor, batch_index: Tensor, points: Tensor) -> Tensor:
    """Sample one image of a batch per region.

    A point within one pixel outside the map takes the value of the border, a point further out is zero. This is
    RoIAlign's rule, and none of ``grid_sample``'s paddings. Differentiable with respect to features and points.

    Args:
        features: (N, C, H, W).
        batch_index: (R,) int64, the image of each region.
        points: (R, ..., 2) as (x, y), pixel centres at whole numbers.

    Returns:
        (R, ..., C).
    """
    height, width = features.shape[-2:]
    x, y = points.unbind(-1)
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)  # false for NaN
    x = torch.where(inside, x, 0).clamp(0, width - 1)
    y = torch.where(inside, y, 0).clamp(0, height - 1)
    left, top = x.detach().floor(), y.detach().floor()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    pixels = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])  # (N * H * W, C)
    first_row = batch_index.view(-1, *[1] * (x.dim() - 1)) * height

    def pick(row: Tensor, column: Tensor, weight: Tensor) -> Tensor:
        return pixels[(first_row + row.long()) * width + column.long()] * (weight * inside)[..., None]

    fx, fy = x - left, y - top
    return (
        pick(top, left, (1 - fy) * (1 - fx))
        + pick(top, right, (1 - fy) * fx)
        + pick(bottom, left, fy * (1 - fx))
        + pick(bottom, right, fy * fx)
    )


def bin_grids(sizes: Tensor, sampling_ratio: int, bins: int) -> Iterator[tuple[Tensor, int, int]]:
    """Group regions by how many samples a bin of theirs takes, a bounded number of samples at a time.

    Args:
        sizes: (R, 2) bin width and height in pixels of the feature map.
        sampling_ratio: samples per bin and axis; 0 takes one per started pixel.
        bins: number of bins of a region.

    Yields:
        Indices (K,) of the regions of a group, samples along x, samples along y; groups without samples are left out.
    """
    counts = torch.full_like(sizes, sampling_ratio) if sampling_ratio > 0 else sizes.ceil().clamp(min=0)
    groups, member = torch.unique(counts, dim=0, return_inverse=True)
    for index, (across, down) in enumerate(groups.tolist()):
        if across > 0 and down > 0:  # false for NaN
            at_once = max(1, int(_SAMPLES_AT_ONCE / (across * down * bins)))
            for members in (member == index).nonzero()[:, 0].split(at_once):
                yield members, int(across), int(down)


def bin_points(start: Tensor, bin_size: Tensor, pooled: tuple[int, int], across: int, down: int) -> Tensor:
    """Sampling points of all bins of regions.

    Args:
        start: (R, 2) or (R, pooled height, pooled width, 2), the top left corner (x, y), one a region or one a bin.
        bin_size: (R, 2) width and height of a bin.
        pooled: number of bins (down, across).
        across, down: samples per bin.

    Returns:
        (R, pooled height, pooled width, down * across, 2) as (x, y).
    """
    rows, columns = pooled

    def steps_along(bins: int, samples: int) -> Tensor:
        whole = torch.arange(bins, dtype=start.dtype, device=start.device)
        part = torch.arange(samples, dtype=start.dtype, device=start.device)
        return whole[:, None] + (part + 0.5) / samples  # (bins, samples)

    x, y = steps_along(columns, across), steps_along(rows, down)
    shape = (rows, columns, down, across)
    x = x[None, :, None, :].expand(shape)
    y = y[:, None, :, None].expand(shape)
    steps = torch.stack((x, y), -1).flatten(2, 3)  # (rows, columns, down * across, 2), in bins
    start = start[:, None, None, None] if start.dim() == 2 else start[:, :, :, None]
    return start + steps * bin_size[:, None, None, None]

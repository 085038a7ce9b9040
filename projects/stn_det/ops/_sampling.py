"""Bilinear reading of feature maps as weighted sums of table rows.

Every operator that samples (RoI pooling, deformable convolution, deformable attention) turns each sampling point into
four taps, a row of a (rows, channels) table and a weight each, and sums taps in bags. The gathered rows are never
materialised and the derivative to the coordinates comes through the weights.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

Taps = tuple[Tensor, Tensor, Tensor]


def bilinear_taps(y: Tensor, x: Tensor, height: Tensor | int, width: Tensor | int, zero_border: bool) -> Taps:
    """Rows, columns and weights of the four pixels around each point.

    Args:
        y, x: points (...) in pixel indices: 0 is the centre of the first pixel.
        height, width: size of the map, ints or tensors that broadcast with the points.
        zero_border: pixels outside the map read as 0 and count with their weight; else a point up to one pixel outside
            reads the nearest edge. Points further out, and NaN points, weigh nothing either way.

    Returns:
        Rows (..., 4) and columns (..., 4) int64 inside the map, weights (..., 4), differentiable to the points.
    """
    bottom, right = torch.as_tensor(height, device=y.device), torch.as_tensor(width, device=x.device)
    if zero_border:
        inside = (y > -1) & (x > -1) & (y < bottom) & (x < right)
    else:
        inside = (y >= -1) & (x >= -1) & (y <= bottom) & (x <= right)
    y, x = torch.where(inside, y, 0.0), torch.where(inside, x, 0.0)
    if not zero_border:
        y = torch.minimum(y.clamp(min=0), (bottom - 1).to(y))
        x = torch.minimum(x.clamp(min=0), (right - 1).to(x))
    y_floor, x_floor = y.detach().floor(), x.detach().floor()
    y_part, x_part = y - y_floor, x - x_floor
    top, left = y_floor.long(), x_floor.long()
    rows, columns = torch.stack([top, top, top + 1, top + 1], -1), torch.stack([left, left + 1, left, left + 1], -1)
    weights = torch.stack(
        [(1 - y_part) * (1 - x_part), (1 - y_part) * x_part, y_part * (1 - x_part), y_part * x_part], -1
    )
    last_row, last_column = (bottom - 1)[..., None], (right - 1)[..., None]
    readable = inside[..., None].expand_as(weights)
    if zero_border:
        readable = readable & (rows >= 0) & (columns >= 0) & (rows <= last_row) & (columns <= last_column)
    rows = torch.minimum(rows.clamp(min=0), last_row)
    columns = torch.minimum(columns.clamp(min=0), last_column)
    return rows, columns, torch.where(readable, weights, 0.0)


def bag_sum(table: Tensor, index: Tensor, weights: Tensor, starts: Tensor | None = None) -> Tensor:
    """Sums (B, C) of weighted rows of ``table`` (T, C).

    Args:
        table: (T, C).
        index: (B, n) int64, n rows a bag; or (n,) with ``starts``.
        weights: as ``index``.
        starts: (B,) int64 first entry of each bag when their lengths differ.
    """
    return F.embedding_bag(index, table, starts, mode='sum', per_sample_weights=weights.to(table.dtype))


def pixel_table(feature: Tensor) -> Tensor:
    """Maps (N, C, H, W) as a table (N * H * W, C)."""
    return feature.permute(0, 2, 3, 1).reshape(-1, feature.shape[1])

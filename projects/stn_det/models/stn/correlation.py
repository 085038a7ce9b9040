"""Where a cell of one map is found in another: local correlation, its peak, and how far that stands out.

Cost volumes of optical flow, "PWC-Net" https://arxiv.org/abs/1709.02371, here between two sensors.

Letters: N pairs, C channels, H x W cells, R radius of the search, K = 2 R + 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def unit_features(maps: Tensor) -> Tensor:
    """Maps (N, C, H, W) freed of each channel's mean and deviation, then unit vectors a cell; float32 at least.

    Gain and offset of a sensor are gone, so products of two cells are cosines. A channel that is constant counts 0.
    """
    wide = maps if maps.dtype == torch.float64 else maps.float()
    centered = wide - wide.mean((2, 3), keepdim=True)
    deviation = (centered.square().mean((2, 3), keepdim=True) + 1e-6).sqrt()
    return F.normalize(centered / deviation, dim=1, eps=1e-6)


def local_correlation(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """Products of every cell of one map with the cells around its place in another.

    Args:
        first: (N, C, H, W).
        second: (N, C, H, W); what lies outside counts 0.
        radius: R, cells.

    Returns:
        (N, K * K, H, W), channels ``[dy][dx]`` from -R to R: ``sum_c first(x, y) second(x + dx, y + dy)``.
    """
    height, size = first.shape[2], 2 * radius + 1
    padded = F.pad(second, [radius] * 4)
    rows = []
    for row in range(size):  # K products at a time: all K * K would need K times the memory
        windows = padded[:, :, row : row + height].unfold(3, size, 1)  # (N, C, H, W, K)
        rows.append((first[..., None] * windows).sum(1))
    return torch.stack(rows, dim=1).permute(0, 1, 4, 2, 3).flatten(1, 2)


def find_peak(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Where a correlation volume has its peak, to parts of a cell, and how far it stands out.

    Parts of a cell come from the parabolas through the largest entry and its neighbours along x and y. The mean under a
    softmax would hardly see them: where the peak is sharp, the neighbours have no probability.

    Args:
        logits: (N, K * K, H, W), channels ``[dy][dx]`` as of :func:`local_correlation`.

    Returns:
        Displacement (N, 2, H, W) as (dx, dy) in cells, differentiable but for the choice of the largest entry, and
        confidence (N, 1, H, W) in [0, 1]: the probability of the 3x3 places around it, above what they would have in a
        flat volume. It is calibrated as far as the softmax is, which :func:`peak_entropy` trains to be.
    """
    places = _places(logits)  # (K * K, 2)
    radius = round((logits.shape[1] ** 0.5 - 1) / 2)
    top, peak = logits.max(1, keepdim=True)
    whole = places[peak[:, 0]].permute(0, 3, 1, 2)  # (N, 2, H, W)
    parts = []
    for axis, step in enumerate((1, 2 * radius + 1)):
        at_edge = whole[:, axis : axis + 1].abs() == radius
        before, after = (logits.gather(1, torch.where(at_edge, peak, peak + way * step)) for way in (-1, 1))
        bend = (2 * top - before - after).clamp(min=1e-3)
        parts.append(torch.where(at_edge, 0.0, (after - before) / (2 * bend)))
    near = (places[:, None] - places).abs().amax(-1) <= 1  # (K * K, K * K)
    mass = (logits.softmax(1) * near[peak[:, 0]].permute(0, 3, 1, 2)).sum(1, keepdim=True)
    chance = 9 / places.shape[0]
    return whole + torch.cat(parts, dim=1), ((mass - chance) / (1 - chance)).clamp(min=0)


def peak_entropy(logits: Tensor, displacement: Tensor) -> Tensor:
    """Cross entropy of a volume against a known displacement, shared bilinearly by the four places around it.

    Args:
        logits: (N, K * K, H, W).
        displacement: (N, 2, H, W) as (dx, dy) in cells, within the window.

    Returns:
        (N, H, W).
    """
    away = displacement[:, None] - _places(logits)[None, :, :, None, None]  # (N, K * K, 2, H, W)
    shares = (1 - away.abs()).clamp(min=0).prod(2)
    return -(shares * logits.log_softmax(1)).sum(1)


def _places(volume: Tensor) -> Tensor:
    """Displacements (K * K, 2) that the channels of a volume stand for, (dx, dy) in cells."""
    radius = (round(volume.shape[1] ** 0.5) - 1) // 2
    steps = torch.arange(-radius, radius + 1, dtype=volume.dtype, device=volume.device)
    dy, dx = torch.meshgrid(steps, steps, indexing='ij')
    return torch.stack([dx, dy], dim=-1).view(-1, 2)

"""How far an estimated alignment of two sensors is from the true one, and from a smooth one.

All matrices (N, 3, 3) are ``second_from_first`` in pixels of the network's input; ``known`` (N,) is 1 for pairs whose
truth is known and 0 for others, which count nothing.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.structures import SampleList
from torch import Tensor

from ...errors import InputError
from ...geometry import transform_points
from ...geometry.warp import MatrixWarp
from ...geometry.warp.base import pixel_centers
from .coarse_align import CoarseMatch
from .correlation import peak_entropy


def read_truth(batch_data_samples: SampleList, device: torch.device) -> tuple[Tensor, Tensor]:
    """``second_from_first`` of the samples' metadata.

    Returns:
        (N, 3, 3) float64, the identity where the truth is not known, and ``known`` (N,) float32.

    Raises:
        InputError: If a matrix has another shape.
    """
    found = [sample.metainfo.get('second_from_first') for sample in batch_data_samples]
    matrices = [_matrix(index, value) for index, value in enumerate(found)]
    known = torch.tensor([float(value is not None) for value in found], device=device)
    return torch.stack(matrices).to(device), known


def _matrix(index: int, value: Any) -> Tensor:
    matrix = torch.eye(3, dtype=torch.float64) if value is None else torch.as_tensor(value, dtype=torch.float64)
    if matrix.shape != (3, 3):
        raise InputError(
            f'second_from_first of sample {index} has shape {tuple(matrix.shape)}, expected (3, 3): points of '
            f'the first image to points of the second, in pixels of the input'
        )
    return matrix


def corner_loss(
    estimates: Sequence[Tensor], truth: Tensor, known: Tensor, size: tuple[int, int], unit: float
) -> Tensor:
    """Smooth L1 distance of the frame's corners from where they belong, later estimates counting more.

    Args:
        estimates: Matrices (N, 3, 3) of each iteration; of K, iteration k has the weight ``0.8^(K - k)``, as in "RAFT"
            https://arxiv.org/abs/2003.12039.
        truth: (N, 3, 3).
        known: (N,).
        size: (height, width) of the frame, pixels.
        unit: Pixels that count as 1.
    """
    height, width = size
    corners = truth.new_tensor([[0, 0], [width, 0], [width, height], [0, height]])
    target = transform_points(corners, truth[:, None])
    losses = []
    for estimate in estimates:
        distance = (transform_points(corners, estimate[:, None]) - target).float() / unit
        losses.append(mean_known(F.smooth_l1_loss(distance, torch.zeros_like(distance), reduction='none'), known))
    terms = torch.stack(losses)
    weights = 0.8 ** torch.arange(len(losses) - 1, -1, -1, device=terms.device)
    return (weights * terms).sum() / weights.sum()


def match_loss(match: CoarseMatch, places: Tensor, known: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Cross entropy of all correlation volumes against where the cells really are, mean of the iterations.

    Cells that the window does not reach, or that the second sensor does not see, count nothing.

    Args:
        match: What was found.
        places: (N, 2, H, W) true places of the cells of the first sensor in the second, pixels.
        known: (N,).
        stride: Pixels a cell.
        size: (height, width) of the frame, pixels.
    """
    height, width = size
    seen = (places[:, 0] >= 0) & (places[:, 0] <= width) & (places[:, 1] >= 0) & (places[:, 1] <= height)
    centers = pixel_centers(tuple(places.shape[-2:]), 1, places.device)[0]  # (P, 2) cells
    losses = []
    for searched, logits in zip(match.searched, match.logits):
        # where the match was, in cells of the second map as it was warped for the search
        back = MatrixWarp(searched, size).inverse().dst_from_src
        wanted = transform_points(places.flatten(2).mT, back[:, None]) / stride - centers
        wanted = wanted.mT.unflatten(2, places.shape[-2:]).to(logits.dtype)
        radius = (logits.shape[1] ** 0.5 - 1) / 2
        reached = wanted.abs().amax(1) <= radius
        losses.append(mean_known(peak_entropy(logits, wanted), known, seen & reached))
    return torch.stack(losses).mean()


def flow_loss(flows: dict[int, Tensor], left: dict[int, Tensor], known: Tensor, limit: float) -> Tensor:
    """Smooth L1 distance of residual offsets from what the warp has left over, mean of the levels.

    Args:
        flows: By stride (N, 2, H, W), pixels.
        left: The same, what they should be.
        known: (N,).
        limit: Largest offset in x and in y; cells that need more are left out.

    Returns:
        A scalar, in cells.
    """
    losses = []
    for stride, flow in flows.items():
        within = left[stride].abs().amax(1) <= limit
        target = left[stride].to(flow.dtype) / stride
        distance = F.smooth_l1_loss(flow / stride, target, reduction='none').sum(1)
        losses.append(mean_known(distance, known, within))
    return torch.stack(losses).mean()


def mean_known(values: Tensor, known: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of values (N, ...) over the pairs that are known and, among these, over a mask (N, ...); 0 without any."""
    weights = known.view(-1, *[1] * (values.dim() - 1)).expand_as(values)
    weights = weights if mask is None else weights * mask
    return (values * weights).sum() / weights.sum().clamp(min=1.0)


def smoothness(flow: Tensor) -> Tensor:
    """Mean length of the change of a flow (N, 2, H, W) from cell to cell, along x and y."""
    along, down = flow.diff(dim=3).abs(), flow.diff(dim=2).abs()
    return (along.sum() + down.sum()) / max(along.numel() + down.numel(), 1)

"""Least-cost pairs of queries and objects for many problems at once, with one copy to the host.

The Hungarian method runs on the host. What makes it slow beside a GPU is not the method but that the host waits for the
device: once a problem, where one wait would do for all images of a batch, all layers of a decoder and all groups of
denoising queries.

Letters: Q queries, G objects, M pairs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...errors import InputError

# Stands for costs that are not finite; all others are kept within it. In float64 a sum with it keeps eight decimals.
WORST = 1e8


class Match(NamedTuple):
    """Pairs of queries and objects of one image.

    Attributes:
        queries: ``(M,)`` int64, indices of queries in rising order.
        objects: ``(M,)`` int64, index of the object of each.
    """

    queries: Tensor
    objects: Tensor


@torch.no_grad()
def costs_on_host(costs: Sequence[Tensor]) -> list[np.ndarray]:
    """Finite copies of cost matrices ``(Q_i, G_i)`` on the host, made by one transfer.

    A cost that is NaN or infinite, of either sign, becomes :data:`WORST`: a broken prediction is never preferred.
    """
    if not costs:
        return []
    flat = torch.cat([cost.reshape(-1).float() for cost in costs])
    flat = torch.where(flat.isfinite(), flat.clamp(-WORST, WORST), WORST)
    parts = np.split(flat.cpu().numpy(), np.cumsum([cost.numel() for cost in costs])[:-1])
    return [part.reshape(tuple(cost.shape)) for part, cost in zip(parts, costs)]


def matches_on_device(pairs: Sequence[tuple[np.ndarray, np.ndarray]], device: torch.device) -> list[Match]:
    """Pairs (queries, objects) of each problem as tensors, brought to the device by one transfer."""
    if not pairs:
        return []
    joined = np.stack([np.concatenate(side).astype(np.int64) for side in zip(*pairs)])
    queries, objects = torch.from_numpy(joined).to(device)
    sizes = [len(found) for found, _ in pairs]
    return [Match(*both) for both in zip(queries.split(sizes), objects.split(sizes))]


def solve_assignments(costs: Sequence[Tensor]) -> list[Match]:
    """One-to-one pairs of least total cost for each of several problems.

    Args:
        costs: matrices ``(Q_i, G_i)``, all on one device; their sizes may differ and may be 0.

    Returns:
        A match for each matrix, on that device, of min(Q_i, G_i) pairs.

    Raises:
        InputError: when a cost is not a matrix.
    """
    for number, cost in enumerate(costs):
        if cost.dim() != 2:
            raise InputError(f'costs[{number}] has shape {tuple(cost.shape)}, expected (Q, G): queries by objects')
    pairs = [linear_sum_assignment(cost) for cost in costs_on_host(costs)]
    return matches_on_device(pairs, costs[0].device) if costs else []

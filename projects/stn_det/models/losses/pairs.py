"""All boxes with all boxes, some rows at a time: functions of pairs hold tens of numbers for each pair."""

from collections.abc import Callable

import torch
from torch import Tensor

PAIRS_AT_ONCE = 1 << 17  # about 60 numbers each


def over_pairs(function: Callable[[Tensor, Tensor], Tensor], boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Matrix ``(M, N)`` of a function of boxes.

    Args:
        function: takes boxes ``(K, 1, 5)`` and ``(1, N, 5)`` and gives ``(K, N)``.
        boxes1: ``(M, 5)``.
        boxes2: ``(N, 5)``.
    """
    rows = boxes1.split(max(1, PAIRS_AT_ONCE // max(1, boxes2.shape[0])))
    return torch.cat([function(part[:, None], boxes2[None]) for part in rows])

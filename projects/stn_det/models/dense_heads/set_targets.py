"""Matched pairs of queries and objects of a batch, as indices into flat tensors.

Letters: N images, Q queries, C classes, T objects of all images, M pairs. Lengths are those of tensors, so building
indices waits for no device.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..task_modules.assignment import Match


class Pairs(NamedTuple):
    """Queries and the objects that they should find.

    Attributes:
        rows: (M,) int64 into N * Q queries.
        objects: (M,) int64 into T objects.
    """

    rows: Tensor
    objects: Tensor

    @classmethod
    def of(cls, matches: Sequence[Match], num_queries: int, counts: Sequence[int]) -> 'Pairs':
        """Pairs of N images with matches within each of them."""
        starts = [sum(counts[:image]) for image in range(len(counts))]
        rows = [match.queries + image * num_queries for image, match in enumerate(matches)]
        objects = [match.objects + start for start, match in zip(starts, matches)]
        return cls(torch.cat(rows), torch.cat(objects))


def class_targets(like: Tensor, pairs: Pairs, labels: Tensor, values: Tensor | float = 1.0) -> Tensor:
    """What the scores of all classes should be.

    Args:
        like: (N * Q, C) logits.
        pairs: M pairs.
        labels: (T,) classes of the objects.
        values: (M,) scores of the pairs, or one for all; everything else is 0.

    Returns:
        (N * Q, C), in the dtype of the logits.
    """
    targets = torch.zeros_like(like)
    if not isinstance(values, Tensor):
        values = like.new_full((len(pairs.rows),), values)
    return targets.index_put((pairs.rows, labels[pairs.objects]), values.to(like.dtype))

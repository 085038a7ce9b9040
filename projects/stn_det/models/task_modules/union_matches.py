"""Union of the matches of several decoder layers, for losses that train all layers on the same objects."""

from collections.abc import Sequence

import numpy as np
import torch

from ...errors import InputError
from .assignment import Match, matches_on_device


def union_matches(matches_by_layer: Sequence[Sequence[Match]], num_queries: int) -> list[Match]:
    """What any layer has matched, one object a query.

    Used for the boxes' loss in "D-FINE: Redefine Regression Task in DETRs as Fine-grained Distribution Refinement"
    https://arxiv.org/abs/2410.13842. A query that layers give to different objects keeps the one that most layers gave
    it, of equally frequent ones that of the latest layer. An object may have several queries. The matches reach the
    host in one copy.

    Args:
        matches_by_layer: for each layer, in order, a match for each image.
        num_queries: number of queries of an image.

    Returns:
        A match for each image, on the device of the matches, queries in rising order.

    Raises:
        InputError: when layers hold different numbers of images, or a query is not below ``num_queries``.
    """
    counts = [len(matches) for matches in matches_by_layer]
    if len(set(counts)) > 1:
        raise InputError(f'matches_by_layer holds {counts} images in its layers, expected as many in each')
    if not counts or not counts[0]:
        return []
    flat = [match for matches in matches_by_layer for match in matches]
    joined = torch.stack([torch.cat(side) for side in zip(*flat)]).cpu().numpy()
    pairs = np.split(joined, np.cumsum([len(match.queries) for match in flat])[:-1], axis=1)
    if joined.size and joined[0].max() >= num_queries:
        raise InputError(f'a match names query {joined[0].max()}, expected one below num_queries, {num_queries}')
    united = [_union(pairs[image :: counts[0]], num_queries) for image in range(counts[0])]
    return matches_on_device(united, flat[0].queries.device)


def _union(pairs: Sequence[np.ndarray], num_queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and objects of one image from the pairs ``(2, M)`` of each layer."""
    layer = np.repeat(np.arange(len(pairs)), [part.shape[1] for part in pairs])
    queries, objects = np.concatenate(pairs, axis=1)
    keys, where, times = np.unique(objects * num_queries + queries, return_inverse=True, return_counts=True)
    latest = np.zeros_like(keys)
    np.maximum.at(latest, where, layer)
    objects, queries = np.divmod(keys, num_queries)
    order = np.lexsort((latest, times, queries))
    queries, objects = queries[order], objects[order]
    best = np.append(queries[1:] != queries[:-1], np.ones(min(1, len(queries)), dtype=bool))  # the last of each query
    return queries[best], objects[best]

"""Which denoising queries still have something to teach: those that win their object against the matching queries.

Letters: B problems (images, or images by layers), Q matching queries, D groups of denoising queries, K objects of the
image that has most, G objects of one image, C classes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...checks import check_float_shape
from ...errors import InputError
from .assignment import costs_on_host
from .batch_hungarian_assigner import BatchHungarianAssigner


def adaptive_denoising(
    assigner: BatchHungarianAssigner,
    scores: Tensor,
    boxes: Tensor,
    denoising_scores: Tensor,
    denoising_boxes: Tensor,
    truths: Sequence[InstanceData],
    img_metas: Sequence[dict],
) -> Tensor:
    """Marks the positive denoising queries that win their own object; the others are background.

    From "RHINO: Rotated DETR with Dynamic Denoising via Hungarian Matching for Oriented Object Detection"
    https://arxiv.org/abs/2305.07598. Written as one problem, all groups make a matrix with blocks on its diagonal that
    grows with the square of their number. But they share nothing except costs, so each is solved by itself, with the
    same result where the best is unique. Costs of matching queries are computed once for all groups, and one copy
    brings those of the batch to the host.

    Args:
        assigner: its costs decide.
        scores: ``(B, Q, C)`` logits of the matching queries.
        boxes: ``(B, Q, 5)`` their boxes, pixels of the network's input and radians.
        denoising_scores: ``(B, D, K, C)`` logits of the positive denoising queries: number k of a group was made from
            object k of the image. Those of absent objects are not read.
        denoising_boxes: ``(B, D, K, 5)`` their boxes.
        truths: B with ``bboxes`` ``(G, 5)`` in the same frame and ``labels`` ``(G,)``.
        img_metas: B with ``img_shape`` (height, width).

    Returns:
        ``(B, D, K)`` bool on the device of the boxes; False for absent objects.

    Raises:
        InputError: when shapes or lengths disagree, or an image has more than K objects.
    """
    number, groups, most = _check_shapes(scores, boxes, denoising_scores, denoising_boxes, truths)
    matching = assigner.cost_matrices(scores, boxes, truths, img_metas)
    denoising = [
        _group_costs(assigner, denoising_scores[b], denoising_boxes[b], truths[b], img_metas[b]) for b in range(number)
    ]
    costs = costs_on_host([*matching, *denoising])
    won = np.zeros((number, groups, most), dtype=bool)
    for marks, shared, own in zip(won, costs[:number], costs[number:]):
        objects = shared.shape[1]
        for mark, group in zip(marks, own.reshape(groups, objects, objects)):
            rows, columns = linear_sum_assignment(np.concatenate([group, shared]))
            mark[columns[rows == columns]] = True
    return torch.from_numpy(won).to(boxes.device)


def _group_costs(
    assigner: BatchHungarianAssigner, scores: Tensor, boxes: Tensor, truth: InstanceData, img_meta: dict
) -> Tensor:
    """Costs ``(D * G, G)`` of an image's denoising queries ``(D, K, ...)``."""
    present = len(truth)
    queries = InstanceData(scores=scores[:, :present].flatten(0, 1), bboxes=boxes[:, :present].flatten(0, 1))
    return assigner.cost_matrix(queries, truth, img_meta)


def _check_shapes(
    scores: Tensor, boxes: Tensor, denoising_scores: Tensor, denoising_boxes: Tensor, truths: Sequence[InstanceData]
) -> tuple[int, int, int]:
    """Number of problems, of groups and of objects of the largest image."""
    check_float_shape('boxes', boxes, ('B', 'Q', 'D'))
    check_float_shape('scores', scores, (*boxes.shape[:2], 'C'))
    number, groups, most, _ = check_float_shape(
        'denoising_boxes', denoising_boxes, (boxes.shape[0], 'D', 'K', boxes.shape[2])
    ).shape
    check_float_shape('denoising_scores', denoising_scores, (number, groups, most, scores.shape[2]))
    for index, truth in enumerate(truths):
        if len(truth) > most:
            raise InputError(
                f'truths[{index}] has {len(truth)} objects, expected at most {most}, the number of queries of a group '
                f'in denoising_boxes {tuple(denoising_boxes.shape)}'
            )
    return number, groups, most

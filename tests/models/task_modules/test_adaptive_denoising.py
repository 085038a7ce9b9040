"""Denoising queries against matching queries: by hand, by all permutations, and as one block-diagonal problem."""

import itertools
import math

import numpy as np
import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from stn_det.errors import InputError
from stn_det.models.task_modules import BatchHungarianAssigner, adaptive_denoising

META = dict(img_shape=(300, 400))
COSTS = [dict(type='FocalLossCost', weight=2.0), dict(type='HausdorffCost', weight=5.0)]


def random_boxes(*size: int) -> Tensor:
    """Boxes (..., 5) in an image of 400 x 300 pixels."""
    scale = torch.tensor([400.0, 300, 60, 40, math.pi])
    return torch.rand(*size, 5) * scale + torch.tensor([0.0, 0, 4, 4, -math.pi / 2])


def truth_of(count: int) -> InstanceData:
    """Objects of three classes."""
    return InstanceData(bboxes=random_boxes(count), labels=torch.randint(3, (count,)))


def near(truth: InstanceData, groups: int, most: int) -> tuple[Tensor, Tensor]:
    """Scores and boxes (1, groups, most, ...) of queries near the objects, wide of them at times; others are NaN."""
    count = len(truth)
    boxes = torch.full((1, groups, most, 5), float('nan'))
    noise = torch.randn(groups, count, 5) * torch.tensor([60.0, 60, 5, 5, 0.3])
    boxes[0, :, :count] = truth.bboxes + noise
    return torch.randn(1, groups, most, 3), boxes


def assigner() -> BatchHungarianAssigner:
    """Class and distance."""
    return TASK_UTILS.build(dict(type='BatchHungarianAssigner', match_costs=COSTS))


def costs_of_groups(
    scores: Tensor, boxes: Tensor, noisy_scores: Tensor, noisy_boxes: Tensor, truth: InstanceData
) -> list[np.ndarray]:
    """For each group of the only image the costs (G + Q, G), denoising queries first, one group at a time."""
    count = len(truth)
    matrices = []
    for group_scores, group_boxes in zip(noisy_scores[0], noisy_boxes[0]):
        queries = InstanceData(
            scores=torch.cat([group_scores[:count], scores[0]]), bboxes=torch.cat([group_boxes[:count], boxes[0]])
        )
        matrices.append(assigner().cost_matrix(queries, truth, META).numpy())
    return matrices


def test_by_hand() -> None:
    truth = InstanceData(
        bboxes=torch.tensor([[50.0, 50, 20, 10, 0], [150.0, 50, 20, 10, 0]]), labels=torch.tensor([0, 0])
    )
    boxes = torch.tensor([[[50.0, 52, 20, 10, 0], [300.0, 200, 20, 10, 0]]])  # near object 0, far from both
    noisy = torch.tensor(
        [[[50.0, 51, 20, 10, 0], [150.0, 58, 20, 10, 0]], [[50.0, 53, 20, 10, 0], [150.0, 50, 20, 10, 0]]]
    )
    # group 0 is nearer at both; in group 1 the matching query is nearer to object 0
    won = adaptive_denoising(
        assigner(), torch.zeros(1, 2, 1), boxes, torch.zeros(1, 2, 2, 1), noisy[None], [truth], [META]
    )
    assert won.tolist() == [[[True, True], [False, True]]]
    # a query that wins the object of another, not its own, is background
    won = adaptive_denoising(
        assigner(), torch.zeros(1, 2, 1), boxes, torch.zeros(1, 2, 2, 1), noisy[None].flip(2), [truth], [META]
    )
    assert not won.any()


def test_equals_all_permutations() -> None:
    marks = []
    for _ in range(6):
        truth, scores, boxes = truth_of(3), torch.randn(1, 3, 3), random_boxes(1, 3)
        noisy = near(truth, groups=2, most=4)
        won = adaptive_denoising(assigner(), scores, boxes, *noisy, [truth], [META])
        for group, cost in enumerate(costs_of_groups(scores, boxes, *noisy, truth)):
            best = min(itertools.permutations(range(6), 3), key=lambda rows: sum(cost[rows[k], k] for k in range(3)))
            assert won[0, group].tolist() == [best[k] == k for k in range(3)] + [False]
        marks += won[0, :, :3].flatten().tolist()
    assert 0 < sum(marks) < len(marks)


def test_equals_one_block_diagonal_problem() -> None:
    truth, scores, boxes = truth_of(12), torch.randn(1, 30, 3), random_boxes(1, 30)
    noisy = near(truth, groups=5, most=12)
    blocks = costs_of_groups(scores, boxes, *noisy, truth)
    whole = np.full((5 * 42, 5 * 12), np.inf)
    for group, block in enumerate(blocks):
        whole[group * 42 : (group + 1) * 42, group * 12 : (group + 1) * 12] = block
    rows, columns = linear_sum_assignment(whole)
    expected = np.zeros((5, 12), dtype=bool)
    own = rows % 42 == columns % 12
    expected[columns[own] // 12, columns[own] % 12] = True
    won = adaptive_denoising(assigner(), scores, boxes, *noisy, [truth], [META])
    assert won[0].tolist() == expected.tolist()
    assert 0 < expected.sum() < 60


def test_images_of_a_batch_do_not_mix_and_share_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    truths = [truth_of(3), truth_of(0), truth_of(5)]
    scores, boxes = torch.randn(3, 8, 3), random_boxes(3, 8)
    noisy_scores, noisy_boxes = (torch.cat(parts) for parts in zip(*(near(truth, 4, 5) for truth in truths)))
    alone = [
        adaptive_denoising(
            assigner(), *(part[b : b + 1] for part in (scores, boxes, noisy_scores, noisy_boxes)), [truths[b]], [META]
        )
        for b in range(3)
    ]
    copies = []
    copy = Tensor.cpu
    monkeypatch.setattr(Tensor, 'cpu', lambda self: copies.append(self.numel()) or copy(self))
    won = adaptive_denoising(assigner(), scores, boxes, noisy_scores, noisy_boxes, truths, [META] * 3)
    assert copies == [8 * (3 + 5) + 4 * (9 + 25)]  # the matching queries once, not once a group
    assert torch.equal(won, torch.cat(alone))
    assert not won[1].any()
    assert not won[0, :, 3:].any()


def test_costs_of_matching_queries_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, truth = assigner(), truth_of(3)
    sizes = []
    single = subject.cost_matrix
    monkeypatch.setattr(subject, 'cost_matrix', lambda p, t, m: sizes.append(len(p)) or single(p, t, m))
    adaptive_denoising(subject, torch.randn(1, 7, 3), random_boxes(1, 7), *near(truth, 6, 3), [truth], [META])
    assert sizes == [7, 6 * 3]


def test_more_objects_than_queries_and_no_queries() -> None:
    truth = truth_of(6)
    noisy = near(truth, 2, 6)
    for queries in (2, 0):
        won = adaptive_denoising(
            assigner(), torch.randn(1, queries, 3), random_boxes(1, queries), *noisy, [truth], [META]
        )
        assert won.shape == (1, 2, 6)
    exact = truth.bboxes.expand(1, 2, 6, 5)
    won = adaptive_denoising(
        assigner(), torch.randn(1, 0, 3), random_boxes(1, 0), torch.zeros(1, 2, 6, 3), exact, [truth], [META]
    )
    assert won.all()


def test_a_broken_denoising_query_is_background() -> None:
    truth = truth_of(2)
    boxes = truth.bboxes.expand(1, 1, 2, 5).clone()
    boxes[0, 0, 0] = float('nan')
    won = adaptive_denoising(
        assigner(), torch.zeros(1, 4, 3), random_boxes(1, 4), torch.zeros(1, 1, 2, 3), boxes, [truth], [META]
    )
    assert won.tolist() == [[[False, True]]]


def test_bad_inputs_are_refused() -> None:
    truth, scores, boxes = truth_of(3), torch.randn(1, 4, 3), random_boxes(1, 4)
    noisy_scores, noisy_boxes = torch.randn(1, 2, 3, 3), random_boxes(1, 2, 3)
    with pytest.raises(InputError, match=r'truths\[0\] has 3 objects, expected at most 2'):
        adaptive_denoising(assigner(), scores, boxes, noisy_scores[:, :, :2], noisy_boxes[:, :, :2], [truth], [META])
    with pytest.raises(InputError, match=r'denoising_boxes has shape \(2, 3, 5\), expected \(1, D, K, 5\)'):
        adaptive_denoising(assigner(), scores, boxes, noisy_scores, noisy_boxes[0], [truth], [META])
    with pytest.raises(InputError, match=r'denoising_scores has shape \(1, 2, 3, 2\), expected \(1, 2, 3, 3\)'):
        adaptive_denoising(assigner(), scores, boxes, noisy_scores[..., :2], noisy_boxes, [truth], [META])
    with pytest.raises(InputError, match='truths has length 2, expected 1'):
        adaptive_denoising(assigner(), scores, boxes, noisy_scores, noisy_boxes, [truth] * 2, [META])

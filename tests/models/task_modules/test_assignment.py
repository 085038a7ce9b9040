"""Many assignments at once: against all permutations, for odd sizes and for costs that are not numbers."""

import itertools

import pytest
import torch
from torch import Tensor

from stn_det.errors import InputError
from stn_det.models.task_modules import Match, solve_assignments
from stn_det.models.task_modules.assignment import WORST, costs_on_host


def least_cost(cost: Tensor) -> float:
    """Least total of one-to-one pairs of a small matrix, by trying all of them."""
    small = cost if cost.shape[0] >= cost.shape[1] else cost.T
    columns = range(small.shape[1])
    return min(
        sum(small[row, column].item() for row, column in zip(rows, columns))
        for rows in itertools.permutations(range(small.shape[0]), small.shape[1])
    )


def test_least_cost_of_all_permutations() -> None:
    sizes = [(5, 3), (3, 5), (4, 4), (6, 1), (1, 6)]
    costs = [torch.randn(size) for size in sizes]
    for cost, (queries, objects) in zip(costs, solve_assignments(costs)):
        assert queries.dtype == objects.dtype == torch.int64
        assert len(queries.unique()) == len(objects.unique()) == len(queries) == min(cost.shape)
        assert queries.tolist() == sorted(queries.tolist())
        assert cost[queries, objects].sum().item() == pytest.approx(least_cost(cost), abs=1e-5)


def test_problems_without_queries_or_objects_stand_between_others() -> None:
    costs = [torch.zeros(3, 0), torch.tensor([[2.0, 1.0]]), torch.zeros(0, 2), torch.tensor([[1.0], [0.0]])]
    found = [(match.queries.tolist(), match.objects.tolist()) for match in solve_assignments(costs)]
    assert found == [([], []), ([0], [1]), ([], []), ([1], [0])]
    assert solve_assignments([]) == []
    (empty,) = solve_assignments([torch.zeros(0, 0)])
    assert isinstance(empty, Match)
    assert empty.queries.dtype == torch.int64


def test_costs_that_are_not_finite_are_the_worst() -> None:
    nan, inf = float('nan'), float('inf')
    cost = torch.tensor([[nan, -inf], [3.0, 4.0], [inf, nan], [5.0, 1e30]])
    (host,) = costs_on_host([cost])
    assert host.tolist() == [[WORST, WORST], [3, 4], [WORST, WORST], [5, WORST]]
    (match,) = solve_assignments([cost])
    assert match.queries.tolist() == [1, 3]
    assert match.objects.tolist() == [1, 0]
    (match,) = solve_assignments([torch.full((3, 2), nan)])
    assert len(match.queries) == 2


def test_one_copy_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    copy = Tensor.cpu
    monkeypatch.setattr(Tensor, 'cpu', lambda self: copies.append(self.numel()) or copy(self))
    solve_assignments([torch.randn(4, 3), torch.randn(2, 2), torch.randn(5, 0)])
    assert copies == [16]


def test_half_precision_and_gradient() -> None:
    cost = torch.tensor([[2.0, 0.5], [0.25, 1.0]], dtype=torch.bfloat16, requires_grad=True)
    (match,) = solve_assignments([cost * 1])
    assert match.objects.tolist() == [1, 0]


def test_a_cost_that_is_no_matrix_is_refused() -> None:
    with pytest.raises(InputError, match=r'costs\[1\] has shape \(2, 3, 4\), expected \(Q, G\)'):
        solve_assignments([torch.zeros(2, 3), torch.zeros(2, 3, 4)])

"""The shared weighting: a weight a pair beside terms a number, and the errors."""

import pytest
import torch

from stn_det.errors import ConfigError
from stn_det.models.losses import WeightedLoss


def test_a_weight_a_row_reaches_each_number_of_the_row() -> None:
    loss = WeightedLoss(lambda pred, target: (pred - target).abs(), 'mean', 2.0)
    pred = torch.tensor([[1.0, 2.0], [3.0, 4.0]])  # as many rows as columns: weights could go astray unnoticed
    value = loss(pred, torch.zeros(2, 2), weight=torch.tensor([1.0, 10.0]), avg_factor=1.0)
    assert value.item() == pytest.approx(2 * (1 + 2 + 30 + 40))


def test_weights_of_numbers_count_by_their_mean_where_a_row_has_one_term() -> None:
    loss = WeightedLoss(lambda pred, target: (pred - target).abs().sum(1), 'sum', 1.0)
    value = loss(torch.ones(2, 2), torch.zeros(2, 2), weight=torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    assert value.item() == 2 * 0.5 + 2 * 1


def test_terms_are_float32_under_autocast() -> None:
    loss = WeightedLoss(lambda pred, target: pred @ target.T, 'none', 1.0)
    rows = torch.tensor([[1.0, 1 / 512]])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert loss(rows, rows).item() == 1 + 1 / 512**2


def test_unknown_reduction_is_refused() -> None:
    with pytest.raises(ConfigError, match="reduction is 'max'; expected one of 'none', 'mean', 'sum'"):
        WeightedLoss(torch.sub, 'max', 1.0)

"""The periodic L1: values, seam, gradient, registered loss."""

import math

import pytest
import torch
from mmdet.registry import MODELS

from stn_det.errors import ConfigError
from stn_det.models.losses import periodic_difference, periodic_l1


def test_known_values() -> None:
    pred = torch.tensor([0.3, 1.5, -1.5, 7.0, 0.0])
    target = torch.tensor([0.1, -1.5, 1.5, 0.5, math.pi / 2 - 0.1])
    expected = torch.tensor([0.2, 3.0 - math.pi, math.pi - 3.0, 6.5 - 2 * math.pi, 0.1 - math.pi / 2])
    torch.testing.assert_close(periodic_difference(pred, target), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(periodic_l1(pred, target), expected.abs(), rtol=0, atol=1e-6)


@pytest.mark.parametrize('period', [math.pi / 2, math.pi, 2 * math.pi])
def test_whole_periods_change_nothing_and_half_of_one_is_the_most(period: float) -> None:
    theta = torch.linspace(-4, 4, 101, dtype=torch.float64)
    base = periodic_l1(theta, torch.full_like(theta, 0.3), period)
    for turns in (-3, 1, 5):
        shifted = periodic_l1(theta + turns * period, torch.full_like(theta, 0.3), period)
        torch.testing.assert_close(shifted, base, rtol=0, atol=1e-12)
    assert base.max() <= period / 2
    direct = torch.stack([(theta - 0.3 + k * period).abs() for k in range(-9, 10)]).amin(0)
    torch.testing.assert_close(base, direct, rtol=0, atol=1e-12)


def test_gradient_goes_the_short_way_round() -> None:
    pred = torch.tensor([1.5, -1.5, 0.2], requires_grad=True)
    periodic_l1(pred, torch.tensor([-1.5, 1.5, 0.1])).sum().backward()
    assert pred.grad.tolist() == [-1, 1, 1]


def test_smooth_part_is_continuous_and_quadratic() -> None:
    assert periodic_l1(torch.tensor(0.05), torch.tensor(0.0), beta=0.1).item() == pytest.approx(0.05**2 / 0.2)
    below, above = (periodic_l1(torch.tensor(0.1 + e), torch.tensor(0.0), beta=0.1).item() for e in (-1e-5, 1e-5))
    assert above - below == pytest.approx(2e-5, abs=1e-6)
    pred = torch.tensor([0.3, 0.02, 1.0, -1.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: periodic_l1(p, torch.zeros_like(p), beta=0.1), (pred,))


def test_registered_loss_weights_each_element() -> None:
    loss = MODELS.build(dict(type='PeriodicL1Loss', loss_weight=2.0))
    pred, target = torch.tensor([[0.3], [3.0]]), torch.zeros(2, 1)
    assert loss(pred, target, reduction_override='none').shape == (2, 1)
    value = loss(pred, target, weight=torch.tensor([1.0, 2.0]), avg_factor=4.0)  # a weight a row
    assert value.item() == pytest.approx(2 * (0.3 + 2 * (math.pi - 3)) / 4, abs=1e-6)
    empty = torch.zeros((0, 1), requires_grad=True)
    loss(empty, torch.zeros(0, 1)).backward()
    assert empty.grad.shape == (0, 1)


@pytest.mark.parametrize(
    ('kwargs', 'match'), [(dict(period=0.0), 'period is 0.0; expected'), (dict(beta=-0.1), 'beta is -0.1; expected')]
)
def test_impossible_settings_are_refused(kwargs: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        MODELS.build(dict(type='PeriodicL1Loss', **kwargs))

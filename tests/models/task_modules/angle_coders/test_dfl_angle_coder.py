"""Distributions over bins: shares by hand, the mean direction, refused settings."""

import math

import pytest
import torch

from stn_det.errors import ConfigError
from stn_det.models import DFLAngleCoder


def test_shares_of_known_angles() -> None:
    coder = DFLAngleCoder(num_bins=4)  # bins at -90, -45, 0, 45 degrees
    shares = coder.encode(torch.deg2rad(torch.tensor([0.0, 9.0, 81.0, -90.0], dtype=torch.float64)))
    expected = [[0.0, 0, 1, 0], [0.0, 0, 0.8, 0.2], [0.8, 0, 0, 0.2], [1.0, 0, 0, 0]]
    torch.testing.assert_close(shares, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


def test_mean_of_a_distribution_through_the_seam() -> None:
    logits = torch.full((90,), -30.0)
    logits[[88, 89, 0, 1]] = 0.0  # 86, 88, -90 and -88 degrees
    assert DFLAngleCoder().decode(logits).item() == pytest.approx(math.radians(89), abs=1e-5)


def test_no_preference_is_upright_and_has_a_gradient_of_zero() -> None:
    coder = DFLAngleCoder()
    code = coder.initial_code().requires_grad_()
    theta = coder.decode(code)
    theta.backward()
    assert theta.item() == 0
    assert torch.equal(code.grad, torch.zeros(90))


def test_too_few_bins_are_refused() -> None:
    with pytest.raises(ConfigError, match='num_bins is 3; expected at least 4'):
        DFLAngleCoder(num_bins=3)

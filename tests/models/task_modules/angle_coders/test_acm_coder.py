"""Complex powers: codes by hand, periods, squares, refused settings."""

import math

import pytest
import torch

from stn_det.errors import ConfigError
from stn_det.models import ACMCoder


def test_code_of_known_angle() -> None:
    code = ACMCoder().encode(torch.tensor(math.radians(15), dtype=torch.float64))
    assert code.tolist() == pytest.approx([math.sqrt(3) / 2, 0.5, 0.5, math.sqrt(3) / 2], abs=1e-12)


@pytest.mark.parametrize('base_omega', [1, 2, 4])
@pytest.mark.parametrize('dual_freq', [False, True])
def test_round_trip_within_the_period(base_omega: int, dual_freq: bool) -> None:
    coder = ACMCoder(base_omega, dual_freq)
    assert coder.period == pytest.approx(2 * math.pi / base_omega)
    assert coder.encode_size == (4 if dual_freq else 2)
    theta = torch.linspace(-coder.period / 2, coder.period / 2, 400, dtype=torch.float64)[1:-1]
    torch.testing.assert_close(coder.decode(0.3 * coder.encode(theta)), theta, rtol=0, atol=1e-9)


@pytest.mark.parametrize('degrees', [-80.0, -45.0, 0.0, 33.0, 60.0])
def test_dual_frequency_resolves_squares(degrees: float) -> None:
    theta = torch.tensor(math.radians(degrees), dtype=torch.float64)
    coder = ACMCoder()
    wrong = torch.tensor(math.radians(25.0), dtype=torch.float64)
    # What the first pair says of a square means little; off by 25 degrees it still finds the right quarter.
    code = torch.cat([0.1 * coder.encode(theta + wrong)[:2], coder.encode(theta)[2:]])
    assert coder.decode(code).item() == pytest.approx(theta.item(), abs=1e-9)
    single = ACMCoder(dual_freq=False)
    off = single.decode(single.encode(theta + wrong)) - theta
    assert abs(math.remainder(off.item(), math.pi)) == pytest.approx(wrong.item(), abs=1e-9)
    flipped = torch.cat([-code[:2], code[2:]])  # the same square a quarter on
    assert abs(math.remainder(coder.decode(flipped).item() - theta.item(), math.pi / 2)) < 1e-9


def test_other_frequencies_are_refused() -> None:
    with pytest.raises(ConfigError, match='base_omega is 3; expected 2 for boxes, 1 for headings, 4 for squares'):
        ACMCoder(base_omega=3)

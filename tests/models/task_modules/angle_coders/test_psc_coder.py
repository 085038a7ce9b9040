"""Phase shifts: codes by hand, squares, weak codes, refused settings."""

import math

import pytest
import torch

from stn_det.errors import ConfigError
from stn_det.models import PSCCoder


def test_code_of_known_angle() -> None:
    # 30 degrees: phases of 60 and 120 degrees, each shifted by 120, 240 and 360
    code = PSCCoder().encode(torch.tensor(math.radians(30), dtype=torch.float64))
    expected = [math.cos(math.radians(d)) for d in (180, 300, 420, 240, 360, 480)]
    assert code.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('num_step', [3, 4, 5, 8])
@pytest.mark.parametrize('dual_freq', [False, True])
def test_round_trip_for_any_number_of_steps(num_step: int, dual_freq: bool) -> None:
    coder = PSCCoder(num_step=num_step, dual_freq=dual_freq)
    theta = torch.linspace(-math.pi / 2, math.pi / 2, 400, dtype=torch.float64)[:-1]
    assert coder.encode_size == num_step * (1 + dual_freq)
    torch.testing.assert_close(coder.decode(coder.encode(theta)), theta, rtol=0, atol=1e-9)


def test_a_constant_added_to_all_steps_changes_nothing() -> None:
    coder, theta = PSCCoder(), torch.tensor([-1.3, 0.2, 1.1], dtype=torch.float64)
    torch.testing.assert_close(coder.decode(coder.encode(theta) + 0.7), theta, rtol=0, atol=1e-9)


@pytest.mark.parametrize('degrees', [-80.0, -45.0, -10.0, 0.0, 33.0, 44.0, 60.0])
def test_dual_frequency_resolves_squares(degrees: float) -> None:
    # A network that cannot know which side is the long one learns the mean of both codes, a little to one side.
    theta = torch.tensor(math.radians(degrees), dtype=torch.float64)
    coder = PSCCoder()
    for share in (0.4, 0.6):
        mean = share * coder.encode(theta) + (1 - share) * coder.encode(theta + math.pi / 2)
        error = coder.decode(mean) - theta
        assert (error - (error / (math.pi / 2)).round() * (math.pi / 2)).abs() < 1e-9
    # One frequency has nothing to tell them apart from a code of no direction: the mean of both is zero.
    dual, single = PSCCoder(), PSCCoder(dual_freq=False)
    codes = [each.encode(torch.stack([theta, theta + math.pi / 2])) for each in (dual, single)]
    torch.testing.assert_close(codes[0][0, 3:], codes[0][1, 3:], rtol=0, atol=1e-9)
    torch.testing.assert_close(codes[1][0], -codes[1][1], rtol=0, atol=1e-9)


@pytest.mark.parametrize('dual_freq', [False, True])
def test_weak_codes_are_upright(dual_freq: bool) -> None:
    coder = PSCCoder(dual_freq=dual_freq, thr_mod=0.47)
    code = coder.encode(torch.tensor(0.8))
    assert coder.decode(0.67 * code).item() == 0  # 0.67 squared is 0.449
    assert coder.decode(0.70 * code).item() == pytest.approx(0.8, abs=1e-5)  # 0.70 squared is 0.49


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        (dict(num_step=2), 'num_step is 2; expected at least 3'),
        (dict(thr_mod=1.0), r'thr_mod is 1.0; expected a squared amplitude in \[0, 1\)'),
        (dict(thr_mod=-0.1), r'thr_mod is -0.1; expected'),
    ],
)
def test_impossible_settings_are_refused(kwargs: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        PSCCoder(**kwargs)

"""Circular smooth labels against windows written out, decoding and refused settings."""

import math

import pytest
import torch

from stn_det.errors import ConfigError
from stn_det.models import CSLCoder

DEGREES = [-90.0, -89.8, -45.3, -0.4, 0.0, 12.0, 88.6, 89.4, 89.6, 137.0]


def window(kind: str, radius: float, distance: int) -> float:
    """Height of a window at a distance of whole bins."""
    return {
        'gaussian': math.exp(-(distance**2) / (2 * radius**2)),
        'triangle': max(0.0, 1 - distance / radius),
        'rect': float(distance < radius),
        'pulse': float(distance == 0),
    }[kind]


@pytest.mark.parametrize('kind', ['gaussian', 'triangle', 'rect', 'pulse'])
@pytest.mark.parametrize(('omega', 'radius'), [(1.0, 6.0), (4.0, 2.5)])
def test_labels_are_the_windows_around_the_circle(kind: str, omega: float, radius: float) -> None:
    coder = CSLCoder(omega=omega, window=kind, radius=radius)
    count = round(180 / omega)
    assert coder.encode_size == count
    labels = coder.encode(torch.deg2rad(torch.tensor(DEGREES, dtype=torch.float64)))
    for degrees, label in zip(DEGREES, labels.tolist()):
        middle = round((degrees + 90) / omega)
        expected = [window(kind, radius, min((k - middle) % count, (middle - k) % count)) for k in range(count)]
        assert label == pytest.approx(expected, abs=1e-12)


def test_known_label_at_the_seam() -> None:
    label = CSLCoder(omega=45, window='triangle', radius=2).encode(torch.tensor(math.radians(89)))
    assert label.tolist() == [1.0, 0.5, 0.0, 0.5]  # bins at -90, -45, 0, 45 degrees: 90 is -90


@pytest.mark.parametrize('kind', ['gaussian', 'triangle', 'rect', 'pulse'])
def test_decoded_angle_is_the_middle_of_the_nearest_bin(kind: str) -> None:
    coder = CSLCoder(omega=2.0, window=kind, radius=5.0)
    theta = torch.deg2rad(torch.tensor([-89.5, -88.6, 0.3, 41.2, 89.3], dtype=torch.float64))
    found = torch.rad2deg(coder.decode(coder.encode(theta)))
    torch.testing.assert_close(found, torch.tensor([-90.0, -88, 0, 42, -90], dtype=torch.float64))


def test_logits_of_a_plateau_are_read_in_its_middle() -> None:
    logits = torch.full((180,), -8.0)
    logits[[175, 176, 177, 178, 179, 0, 1]] = 8.0  # around bin 178, 88 degrees, through the seam
    logits[90] = 9.0  # alone, hence no window
    coder = CSLCoder(window='rect', radius=4)
    assert coder.decode(logits).item() == pytest.approx(math.radians(88), abs=1e-6)


def test_untrained_scores_are_a_hundredth() -> None:
    assert CSLCoder().initial_code().sigmoid().tolist() == pytest.approx([0.01] * 180)


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        (dict(omega=7.0), 'omega is 7.0; expected degrees .* fills 180'),
        (dict(omega=0.0), 'omega is 0.0; expected'),
        (dict(omega=180.0), 'omega is 180.0; expected'),
        (dict(omega=7.0, heading=True), 'fills 360'),
        (dict(window='hann'), "window is 'hann'; expected one of"),
        (dict(radius=0.0), 'radius is 0.0; expected bins, above 0'),
    ],
)
def test_impossible_settings_are_refused(kwargs: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        CSLCoder(**kwargs)

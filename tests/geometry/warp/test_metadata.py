"""From the camera's metadata to the common view."""

import math

import pytest
import torch

from stn_det.errors import InputError
from stn_det.geometry import scaling
from stn_det.geometry.warp.metadata import canonical_from_metadata

UP = torch.tensor([0.0, -1.0], dtype=torch.float64)


def _azimuth(degrees):
    return torch.tensor([math.sin(math.radians(degrees)), -math.cos(math.radians(degrees))], dtype=torch.float64)


@pytest.mark.parametrize('north', [0.0, 30.0, -100.0, 180.0])
def test_north_comes_up(north):
    assert torch.allclose(canonical_from_metadata(dict(north=north)) @ _azimuth(north), UP, atol=1e-12)


@pytest.mark.parametrize('azimuth', [0.0, 90.0, 33.0])
def test_an_oblique_view_is_stretched_along_the_tilt(azimuth):
    matrix = canonical_from_metadata(dict(off_nadir=60, tilt_azimuth=azimuth))
    along, across = _azimuth(azimuth), _azimuth(azimuth + 90)
    assert torch.allclose(matrix @ along, 2 * along)
    assert torch.allclose(matrix @ across, across)


def test_all_together_undo_a_camera():
    """A ground with north up, seen tilted, then turned by 40 degrees, at 0.25 m."""
    turn = canonical_from_metadata(dict(north=-40.0))  # clockwise by 40 degrees
    shorten = torch.linalg.inv(canonical_from_metadata(dict(off_nadir=35, tilt_azimuth=70)))
    image_from_ground = shorten @ turn
    found = canonical_from_metadata(dict(gsd=0.25, off_nadir=35, tilt_azimuth=70, north=40), target_gsd=0.5)
    assert torch.allclose(found @ image_from_ground, torch.eye(2, dtype=torch.float64) / 2, atol=1e-12)


def test_what_the_pipeline_did_is_undone():
    camera = dict(north=30.0)
    resized = scaling(0.5, 0.5)
    expected = canonical_from_metadata(camera)
    assert torch.allclose(canonical_from_metadata(camera, input_from_image=resized) @ resized[:2, :2], expected)


def test_a_mirrored_image_comes_to_the_mirrored_view():
    flipped = scaling(-1, 1, center=(50, 50))
    found = canonical_from_metadata(dict(north=30.0), input_from_image=flipped)
    assert torch.linalg.det(found) == pytest.approx(1)
    assert torch.allclose(found @ _azimuth(-30), UP, atol=1e-12)


@pytest.mark.parametrize(
    ('metadata', 'target', 'message'),
    [
        (dict(height=3), None, r"metadata hold \['height'\], expected at least one of gsd"),
        (dict(north=3), 0.5, 'target_gsd is 0.5 and gsd None'),
        (dict(off_nadir=90, tilt_azimuth=0), None, 'off_nadir is 90, expected'),
        (dict(off_nadir=30), None, 'off_nadir is given without tilt_azimuth'),
    ],
)
def test_errors(metadata, target, message):
    with pytest.raises(InputError, match=message):
        canonical_from_metadata(metadata, target)

"""What is known of the camera."""

import pytest

from stn_det.datasets.transforms.camera import SetCamera
from stn_det.errors import ConfigError, InputError


def test_values_of_the_dataset_and_of_the_image():
    results = SetCamera(north=0, gsd=0.3, fields=dict(off_nadir='tilt', gsd='resolution'))(
        dict(tilt=30, resolution='0.25')
    )
    assert results['camera'] == dict(north=0.0, gsd=0.25, off_nadir=30.0)


def test_samples_do_not_share_values():
    transform = SetCamera(north=5)
    first, second = transform({}), transform({})
    first['camera']['north'] = 7
    assert second['camera'] == dict(north=5.0)


@pytest.mark.parametrize('results', [{}, dict(tilt=None), dict(tilt='steep')])
def test_a_missing_entry_is_named(results):
    with pytest.raises(InputError, match="off_nadir is read from 'tilt', which is"):
        SetCamera(fields=dict(off_nadir='tilt'))(results)


@pytest.mark.parametrize('options', [{}, dict(north=1, fields=dict(height='h'))])
def test_errors(options):
    with pytest.raises(ConfigError, match='expected at least one of gsd, off_nadir'):
        SetCamera(**options)


def test_repr():
    assert repr(SetCamera(north=0)) == "SetCamera({'north': 0.0}, fields={})"

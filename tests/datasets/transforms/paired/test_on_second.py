"""Photometric transforms on one sensor."""

import numpy as np
import pytest

from stn_det.datasets.transforms import OnSecond
from stn_det.errors import ConfigError, InputError

DISTORT = dict(type='PhotoMetricDistortion', brightness_delta=60)


def test_only_the_second_image_changes(make_pair):
    pair = make_pair()
    before = {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in pair.items()}
    second = before['second_img']
    for _ in range(4):
        pair = OnSecond([DISTORT])(pair)
    assert not np.array_equal(pair['second_img'], second)
    assert pair['second_img'].shape == second.shape
    assert pair.keys() == before.keys()
    for key in before.keys() - {'second_img'}:
        assert pair[key] is before[key] or np.array_equal(pair[key], before[key])


def test_geometry_is_refused(make_pair):
    with pytest.raises(ConfigError, match='RandomAffine: moves or mixes images'):
        OnSecond([dict(type='RandomAffine')])
    for step in (dict(type='RandomFlip', prob=1.0), dict(type='Resize', scale=(60, 45))):
        with pytest.raises(ConfigError, match='changes geometry'):
            OnSecond([step])(make_pair())


def test_without_a_second_image():
    with pytest.raises(InputError, match='no second image'):
        OnSecond([DISTORT])(dict(img=np.zeros((4, 4, 3))))

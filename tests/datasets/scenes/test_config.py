"""Settings of the scene generator: one form, checked, and back from JSON."""

import json

import pytest

from stn_det.datasets.scenes import DEFAULT_KINDS, KINDS, SceneConfig
from stn_det.errors import InputError


def test_json_round_trip():
    config = SceneConfig(size=(320, 256), yaw=(-10, 10), kinds={'sea': 2, 'parking': 1}, second='sar')
    assert SceneConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_one_number_stands_for_a_fixed_range():
    assert SceneConfig(obliquity=30).obliquity == (30.0, 30.0)


def test_default_weights_name_every_kind():
    assert {name for name, _ in DEFAULT_KINDS} == set(KINDS)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'size': (512,)}, r'size is \(512,\); expected \(width, height\)'),
        ({'size': (32, 512)}, 'size is .*from 64 to 4096'),
        ({'size': ('a', 512)}, 'size is .*two whole numbers'),
        ({'size': (float('nan'), 512)}, 'size is .*two whole numbers'),
        ({'gsd': (0.3, 0.1)}, r'gsd is \(0.3, 0.1\); expected \(low, high\) with low <= high'),
        ({'gsd': 'fine'}, "gsd is 'fine'; expected two numbers"),
        ({'gsd': (0.0, 0.1)}, 'gsd is 0.0; expected a number from 0.05 to 2'),
        ({'yaw': (0.0, float('nan'))}, 'yaw is nan; expected a number'),
        ({'obliquity': (0.0, 75.0)}, 'obliquity is 75.0; expected a number from 0 to 60'),
        ({'density': 0}, 'density is 0.0; expected a number above 0'),
        ({'density': 'full'}, "density is 'full'; expected a number from 0 to 2"),
        ({'low_contrast': 1.5}, 'low_contrast is 1.5; expected a number from 0 to 1'),
        ({'kinds': {'moon': 1.0}}, "kinds names 'moon'; expected some of airfield"),
        ({'kinds': {'sea': -1.0}}, "kinds gives 'sea' the weight -1.0"),
        ({'kinds': {'sea': 0.0}}, 'expected at least one weight above 0'),
        ({'kinds': 3}, 'kinds is 3; expected weights by name'),
        ({'second': 'lidar'}, "second is 'lidar'; expected None, 'infrared' or 'sar'"),
    ],
)
def test_a_wrong_setting_is_named(settings, message):
    with pytest.raises(InputError, match=message):
        SceneConfig(**settings)


def test_an_unknown_setting_is_named():
    with pytest.raises(InputError, match=r'unknown scene setting.* colour; expected some of blur'):
        SceneConfig.from_dict({'colour': 1})

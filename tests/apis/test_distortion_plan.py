"""Levels, names and settings of a benchmark under distortions."""

import pytest

from stn_det.apis.distortion_plan import Settings, file_name, model_names, parse_levels, plan_levels
from stn_det.errors import ConfigError, InputError


def test_levels_from_the_command_line() -> None:
    assert parse_levels(['rotation=0,45.5', 'scale=2']) == {'rotation': (0.0, 45.5), 'scale': (2.0,)}
    assert parse_levels([]) == {}
    for wrong in ('rotation', 'rotation=', 'rotation=a', '0,45'):
        with pytest.raises(InputError, match='not of the form family=number,number, as rotation=0,45,90'):
            parse_levels([wrong])


def test_default_families() -> None:
    assert list(plan_levels(None, None, paired=False)) == ['rotation', 'scale', 'shear', 'obliquity']
    plan = plan_levels(None, None, paired=True)
    assert plan['shift'] == (0, 2, 4, 8, 16, 32)
    assert (plan['rotation'][0], plan['rotation'][-1]) == (0, 180)
    assert (plan['scale'][0], plan['scale'][-1]) == (0.5, 2)
    assert plan['obliquity'][-1] == 60


def test_chosen_families_and_levels() -> None:
    assert plan_levels(None, {'scale': (2, 0.5)}, paired=False) == {'scale': (0.5, 1, 2)}
    plan = plan_levels(['obliquity', 'rotation'], {'rotation': (90,)}, paired=False)
    assert list(plan) == ['obliquity', 'rotation']
    assert plan['rotation'] == (0, 90)
    assert len(plan['obliquity']) == 7


def test_wrong_families_and_levels() -> None:
    with pytest.raises(InputError, match=r"no family of distortions 'rotate'. Did you mean rotation"):
        plan_levels(['rotate'], None, paired=False)
    with pytest.raises(InputError, match=r"no family of distortions 'x'. They are rotation, scale"):
        plan_levels(None, {'x': (1,)}, paired=False)
    with pytest.raises(InputError, match='levels are given for scale, which is not among the families rotation'):
        plan_levels(['rotation'], {'scale': (2,)}, paired=False)
    with pytest.raises(InputError, match='level 99 of scale is out of range'):
        plan_levels(None, {'scale': (99,)}, paired=False)


def test_a_shift_needs_pairs() -> None:
    assert list(plan_levels(['shift'], None, paired=True)) == ['shift']
    with pytest.raises(ConfigError, match='shift moves the second image of a pair, but not every config loads one'):
        plan_levels(['shift'], None, paired=False)


def test_names_of_models() -> None:
    assert model_names([('x/a.py', 'e.pth'), ('b.py', 'e.pth')]) == ['a', 'b']
    assert model_names([('a.py', 'e1.pth'), ('a.py', 'e2.pth'), ('b.py', 'c.pth')]) == ['a e1', 'a e2', 'b']
    assert model_names([('a.py', 'e.pth')], ['plain']) == ['plain']
    assert file_name('a b/c') == 'a_b_c'


def test_names_have_to_differ() -> None:
    with pytest.raises(InputError, match=r"several models would be called 'a e'; give a name to each"):
        model_names([('x/a.py', 'e.pth'), ('y/a.py', 'e.pth')])
    with pytest.raises(InputError, match=r"would be called 'n 1'"):
        model_names([('a.py', 'e.pth'), ('b.py', 'e.pth')], ['n 1', 'n/1'])
    with pytest.raises(InputError, match='1 names are given for 2 models'):
        model_names([('a.py', 'e.pth'), ('b.py', 'e.pth')], ['n'])
    with pytest.raises(InputError, match='no models were given'):
        model_names([])


def test_settings_out_of_range() -> None:
    with pytest.raises(InputError, match='max_images is 0; expected 1 or more'):
        Settings(max_images=0)
    with pytest.raises(InputError, match=r'min_visible is 1\.5; expected a share from 0 to 1'):
        Settings(min_visible=1.5)

import numpy as np
import pytest

from stn_det.errors import InputError


def _palette():
    from stn_det.visualization import palette

    return palette


@pytest.mark.parametrize(('count', 'least'), [(7, 15.0), (15, 10.0), (20, 8.0)])
def test_colours_stay_apart_for_deficient_vision(count, least):
    palette = _palette()
    colors = palette.class_colors(count)
    distances = palette.color_distance(colors, colors)[np.triu_indices(count, 1)]
    assert distances.min() > least


def test_colours_are_stable_and_a_prefix_of_more():
    palette = _palette()
    assert palette.class_colors(0) == ()
    assert palette.class_colors(20)[:9] == palette.class_colors(9)
    assert palette.class_colors(3) == ((86, 180, 233), (230, 159, 0), (0, 158, 115))
    assert len(set(palette.class_colors(60))) == 60


def test_colours_keep_away_from_reserved_ones():
    palette = _palette()
    reserved = ((255, 45, 45), (255, 225, 0))
    colors = palette.class_colors(12, avoid=reserved)
    assert palette.color_distance(colors, reserved).min() > 10
    assert (240, 228, 66) not in colors


def test_distance_sees_what_a_red_blind_reader_sees():
    palette = _palette()
    assert palette.color_distance([(0, 0, 0)], [(255, 255, 255)])[0, 0] == pytest.approx(100, abs=0.5)
    confusing = palette.color_distance([(196, 80, 40)], [(116, 104, 40)])[0, 0]
    assert confusing < 0.5 * np.linalg.norm(
        palette._lab(palette._linear(np.array([(196, 80, 40)]))) - palette._lab(palette._linear([(116, 104, 40)]))
    )


def test_colours_for_paper_are_not_pale():
    palette = _palette()
    colors = np.array(palette.class_colors(12, lightest=74.0))
    assert palette._lab(palette._linear(colors))[:, 0].max() <= 75


def test_negative_number():
    with pytest.raises(InputError, match='num_classes is -1; expected 0 or more'):
        _palette().class_colors(-1)

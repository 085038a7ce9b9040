import numpy as np
import pytest

from stn_det.errors import InputError
from stn_det.evaluation.functional import average_precision


def test_known_values():
    recall, precision = np.array([1 / 3, 1 / 3, 2 / 3]), np.array([1, 1 / 2, 2 / 3])
    assert average_precision(recall, precision, 'area') == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    # levels 0, .1, .2, .3 have precision 1; .4, .5, .6 have 2/3; the others are not reached
    assert average_precision(recall, precision, '11points') == pytest.approx((4 + 3 * 2 / 3) / 11)


@pytest.mark.parametrize('mode', ['area', '11points'])
def test_perfect_and_empty(mode):
    assert average_precision(np.array([0.5, 1.0]), np.array([1.0, 1.0]), mode) == pytest.approx(1.0)
    assert average_precision(np.zeros(0), np.zeros(0), mode) == 0.0
    assert average_precision(np.zeros(3), np.zeros(3), mode) == 0.0


def test_a_dip_is_filled_by_the_envelope():
    recall, precision = np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.5, 2 / 3])
    assert average_precision(recall, precision, 'area') == pytest.approx(2 / 3)


def test_levels_are_those_of_the_development_kit():
    # 3 * 0.1 is 0.30000000000000004 in floating point: recall 3/10 reaches the levels 0, 0.1 and 0.2 only.
    assert average_precision(np.array([0.3]), np.array([1.0]), '11points') == pytest.approx(3 / 11)
    assert average_precision(np.array([0.2]), np.array([1.0]), '11points') == pytest.approx(3 / 11)
    assert average_precision(np.array([0.4]), np.array([1.0]), '11points') == pytest.approx(5 / 11)


def test_errors():
    with pytest.raises(InputError, match="ap_mode is 'voc'; expected 'area'"):
        average_precision(np.zeros(1), np.zeros(1), 'voc')
    with pytest.raises(InputError, match=r'shapes \(2,\) and \(3,\)'):
        average_precision(np.zeros(2), np.zeros(3))

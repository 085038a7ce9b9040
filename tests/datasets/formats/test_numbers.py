"""Checks of numbers and quadrilaterals."""

import pytest

from stn_det.datasets.formats.numbers import first_non_finite, is_zero_area_quad, leading_numbers, parse_number


@pytest.mark.parametrize(
    ('corners', 'expected'),
    [
        ((1, 187, 1, 187, 1, 219, 1, 219), True),  # two corners twice
        ((5, 5, 5, 5, 5, 5, 5, 5), True),  # a point
        ((0, 0, 1, 1, 2, 2, 3, 3), True),  # a slanted line
        ((0, 0, 1, 0, 2, 0, 3, 0), True),
        ((0, 0, 10, 0, 10, 1, 0, 1), False),
        ((0, 0, 10, 10, 10, 0, 0, 10), False),  # crossing order encloses two triangles
        ((0, 0, 4, 0, 4, 0, 2, 1), False),  # a triangle
    ],
)
def test_zero_area(corners, expected):
    assert is_zero_area_quad(corners) is expected


def test_numbers_in_text():
    assert parse_number('-1.5e2') == -150
    assert parse_number('ship') is None
    assert leading_numbers(['1', '2.5', 'a', '3']) == 2
    assert first_non_finite([1.0, 2.0]) is None
    assert first_non_finite([1.0, float('nan'), float('inf')]) == 1

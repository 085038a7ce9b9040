"""Class names: look-up, suggestions, checks and colours."""

import numpy as np
import pytest

from stn_det.datasets.formats.classes import check_classes, class_index, make_palette, suggestion
from stn_det.errors import ClassMismatchError, ConfigError

CLASSES = ('plane', 'small-vehicle', 'large-vehicle')


def test_class_index_is_the_position():
    assert [class_index(name, CLASSES, 'f:1') for name in CLASSES] == [0, 1, 2]


@pytest.mark.parametrize('name', ['small vehicle', 'small_vehicle', 'Small-Vehicle', 'smal-vehicle'])
def test_suggestion_sees_through_spelling(name):
    assert suggestion(name, CLASSES) == " Did you mean 'small-vehicle'?"
    assert suggestion('xyz', CLASSES) == ''


def test_unknown_class_names_place_choices_and_remedies():
    with pytest.raises(
        ClassMismatchError, match=r"f.txt:3: class 'planes'.*Did you mean 'plane'.*small-vehicle.*metainfo.*ignore"
    ):
        class_index('planes', CLASSES, 'f.txt:3')
    assert class_index('planes', CLASSES, 'f.txt:3', unknown_class='ignore') is None


@pytest.mark.parametrize(
    ('classes', 'match'),
    [
        ('ship', r"string 'ship'.*classes=\('ship',\)"),
        ((), 'non-empty list'),
        ((1, 2), 'non-empty list'),
        (('a', 'b', 'a'), r"\['a'\] more than once"),
        (None, 'classes is None'),
    ],
)
def test_bad_class_lists(classes, match):
    with pytest.raises(ConfigError, match=match):
        check_classes(classes)


def test_palette_colours_differ_visibly():
    palette = np.array(make_palette(18), dtype=float)
    distances = np.linalg.norm(palette[:, None] - palette[None], axis=-1)
    assert distances[~np.eye(18, dtype=bool)].min() > 30
    assert palette.min() >= 0
    assert palette.max() <= 255

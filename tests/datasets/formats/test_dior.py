"""DIOR-R label files: values, and errors that name file, object and field."""

import pytest

from stn_det.datasets.formats import LabelledQuad, parse_dior
from stn_det.errors import AnnotationError, ClassMismatchError

CLASSES = ('ship', 'golffield')
CORNERS = dict(x_left_top=1, y_left_top=2, x_right_top=9, y_right_top=3, x_right_bottom=8, y_right_bottom=7.5,
               x_left_bottom=0, y_left_bottom=6)  # fmt: skip


def dior_object(name: str = 'GolfField', more: str = '', **corners: object) -> str:
    """XML of one object; a corner of None is left out."""
    fields = {**CORNERS, **corners}
    box = ''.join(f'<{key}>{value}</{key}>' for key, value in fields.items() if value is not None)
    return f'<object><name>{name}</name>{more}<robndbox>{box}</robndbox></object>'


def file(*objects: str) -> str:
    """XML of a file."""
    return (
        f'<?xml version="1.0" encoding="utf-8"?><annotation><filename>1.jpg</filename>{"".join(objects)}</annotation>'
    )


def test_values() -> None:
    text = file(dior_object(), dior_object('ship', '<difficult>1</difficult>', x_left_top=-4))
    assert parse_dior(text, CLASSES, 'a.xml') == [
        LabelledQuad((1, 2, 9, 3, 8, 7.5, 0, 6), 1, 0, 'a.xml: object 1'),
        LabelledQuad((-4, 2, 9, 3, 8, 7.5, 0, 6), 0, 1, 'a.xml: object 2'),
    ]


def test_no_objects() -> None:
    assert parse_dior(file(), CLASSES, 'a.xml') == []


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('', r'a\.xml: not XML: .*Expected <annotation>'),
        (file(dior_object())[:-30], r'a\.xml: not XML: '),
        ('<HRSC_Image/>', r'a\.xml: the outermost element is <HRSC_Image>, expected <annotation>'),
        (file('<object><name>ship</name></object>'), r'a\.xml: object 1 has no <robndbox>.*Oriented Bounding Boxes'),
        (file(dior_object(), dior_object(x_right_top=None)), r'a\.xml: object 2 has no <x_right_top>'),
        (file(dior_object(y_left_bottom='')), 'object 1 has an empty <y_left_bottom>'),
        (file(dior_object(y_left_bottom='1,5')), "<y_left_bottom> is '1,5', expected a finite number"),
        (file(dior_object(x_left_top='nan')), "<x_left_top> is 'nan', expected a finite number"),
        (file(dior_object('')), 'object 1 has an empty <name>'),
        (file(dior_object(more='<difficult>x</difficult>')), "<difficult> is 'x', expected 0 or 1"),
    ],
)
def test_corrupt_files(text: str, match: str) -> None:
    with pytest.raises(AnnotationError, match=match):
        parse_dior(text, CLASSES, 'a.xml')


def test_other_classes() -> None:
    text = file(dior_object('shipp'), dior_object('ship'))
    with pytest.raises(ClassMismatchError, match=r"a\.xml: object 1: class 'shipp' .*Did you mean 'ship'"):
        parse_dior(text, CLASSES, 'a.xml')
    assert [item.label for item in parse_dior(text, CLASSES, 'a.xml', unknown_class='ignore')] == [0]

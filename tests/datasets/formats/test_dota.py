"""Parsing of DOTA label files."""

import pytest

from stn_det.datasets.formats import parse_dota_header, parse_dota_lines
from stn_det.errors import AnnotationError, ClassMismatchError

CLASSES = ('plane', 'ship')
PLANE = '10 20 30 20 30 40 10 40 plane 0'


def parse(text, **kwargs):
    return parse_dota_lines(text, CLASSES, 'P1.txt', **kwargs)


def test_objects_with_header_crlf_bom_blank_lines_and_without_flag():
    text = '\ufeffimagesource:GoogleEarth\r\ngsd:0.25\r\n\r\n' + PLANE + '\r\n1.5 2 3 2 3 4 1 4 ship\r\n'
    objects = parse(text)
    assert [(o.name, o.label, o.difficult, o.line) for o in objects] == [('plane', 0, 0, 4), ('ship', 1, 0, 5)]
    assert objects[0].corners == (10, 20, 30, 20, 30, 40, 10, 40)
    assert objects[1].corners[0] == 1.5
    assert parse_dota_header(text, 'P1.txt') == dict(imagesource='GoogleEarth', gsd=0.25)


def test_empty_file_has_no_objects():
    assert parse('') == parse('\n\n') == parse('imagesource:GoogleEarth\ngsd:null\n') == []


def test_difficult_values_are_kept():
    assert [o.difficult for o in parse(f'{PLANE}\n{PLANE[:-1]}2\n{PLANE[:-1]}1')] == [0, 2, 1]


def test_zero_area_objects_are_returned():
    assert len(parse('1 187 1 187 1 219 1 219 plane 2')) == 1


def test_unknown_class():
    with pytest.raises(
        ClassMismatchError, match=r"P1.txt:2: '1 2 3 4 5 6 7 8 shop 0'.*Did you mean 'ship'\?.*plane, ship"
    ):
        parse(PLANE + '\n1 2 3 4 5 6 7 8 shop 0')
    assert [o.name for o in parse(PLANE + '\n1 2 3 4 5 6 7 8 shop 0', unknown_class='ignore')] == ['plane']


@pytest.mark.parametrize(
    ('line', 'match'),
    [
        ('1 2 3 4 5 6 plane 0', r"P1.txt:2: '1 2 3 4 5 6 plane 0': 3 corners \(6 numbers\)"),
        ('1 2 3 4 5 6 7 8 9 10 plane 0', r'5 corners \(10 numbers\)'),
        ('1 2 3 x 5 6 7 8 plane 0', "'x' stands where coordinate 4 should be a number"),
        ('1 2 3 4 5 6 7 8', 'no class name after the corners'),
        ('1 2 3 4 5 6 7 8 plane big 0', 'class names hold no spaces'),
        ('1,2,3,4,5,6,7,8,plane,0', 'separated by commas'),
        ('0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8', 'YOLO-OBB'),
        ('gsd:0.3', 'expected .x1 y1 x2 y2'),
        ('1 2 nan 4 5 6 7 8 plane 0', 'coordinate 3 is nan, expected a finite number'),
        ('1 2 3 4 5 6 7 inf plane 0', 'coordinate 8 is inf, expected a finite number'),
        ('1 2 3 4 5 6 7 8 plane yes', "difficult flag is 'yes'"),
        ('1 2 3 4 5 6 7 8 plane -1', "difficult flag is '-1'"),
        ('1 2 3 4 5 6 7 8 plane 0.5', "difficult flag is '0.5'"),
    ],
)
def test_bad_lines_say_where_and_what(line, match):
    with pytest.raises(AnnotationError, match=match):
        parse(f'{PLANE}\n{line}\n')


def test_relative_coordinates_are_recognised():
    with pytest.raises(
        AnnotationError, match=r'P1.txt:1: all coordinates of the file lie between 0 and 1, expected pixels'
    ):
        parse('0.1 0.2 0.3 0.2 0.3 0.4 0.1 0.4 plane 0')
    assert len(parse('0.1 0.2 0.3 0.2 0.3 0.4 0.1 0.4 plane 0\n' + PLANE)) == 2


@pytest.mark.parametrize(('value', 'gsd'), [('0.15', 0.15), ('null', None), ('None', None), ('', None)])
def test_gsd_values(value, gsd):
    assert parse_dota_header(f'gsd:{value}\n{PLANE}', 'P1.txt')['gsd'] == gsd


@pytest.mark.parametrize('value', ['high', '-1', '0', 'inf'])
def test_bad_gsd(value):
    with pytest.raises(AnnotationError, match=f"P1.txt:1: 'gsd:{value}': gsd is '{value}', expected metres per pixel"):
        parse_dota_header(f'gsd:{value}\n{PLANE}', 'P1.txt')


def test_header_keeps_other_keys_and_ends_at_the_first_object():
    text = f'acquisition dates:2016-05-04\nimagesource:GF-2\n{PLANE}\nnote:late\n'
    assert parse_dota_header(text, 'f') == {'acquisition dates': '2016-05-04', 'imagesource': 'GF-2', 'gsd': None}

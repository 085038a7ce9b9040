"""Parsing of rotated COCO files."""

import math

import pytest

from stn_det.datasets.formats import load_rotated_coco, parse_rotated_coco
from stn_det.errors import AnnotationError, ClassMismatchError

CLASSES = ('car', 'boat')
IMAGE = dict(id=7, file_name='a.png', width=100, height=80)


def payload(*annotations, images=(IMAGE,), categories=(dict(id=0, name='car'), dict(id=1, name='boat'))):
    return dict(images=list(images), annotations=list(annotations), categories=list(categories))


def annotation(**changes):
    return dict(dict(id=3, image_id=7, category_id=0, bbox=[50, 40, 20, 10, 0.5]), **changes)


def parse(*annotations, images=(IMAGE,), categories=None, **kwargs):
    data = (
        payload(*annotations, images=images)
        if categories is None
        else payload(*annotations, images=images, categories=categories)
    )
    return parse_rotated_coco(data, CLASSES, 'ann.json', **kwargs)


def test_both_image_keys_and_metadata():
    images = parse(images=[IMAGE, dict(id=8, filename='b.png', altitude='60', scenario='1')])
    assert [(i.file_name, i.width, i.height, i.meta) for i in images] == [
        ('a.png', 100, 80, {}),
        ('b.png', None, None, dict(altitude='60', scenario='1')),
    ]


def test_boxes_of_each_kind():
    quad = [0, 0, 4, 0, 4, 2, 0, 2]
    boxes = [
        o.box
        for o in parse(
            annotation(),
            annotation(bbox=quad),
            annotation(bbox=[0, 0, 4, 2], segmentation=[quad]),
            annotation(bbox=None, segmentation=quad),
        )[0].objects
    ]
    assert boxes == [(50, 40, 20, 10, 0.5), tuple(quad), tuple(quad), tuple(quad)]


@pytest.mark.parametrize(
    ('options', 'theta'),
    [
        (dict(), 0.5),
        (dict(angle_direction='ccw'), -0.5),
        (dict(angle_unit='deg'), math.radians(0.5)),
        (dict(angle_unit='deg', angle_direction='ccw'), -math.radians(0.5)),
    ],
)
def test_angle_unit_and_direction(options, theta):
    assert parse(annotation(), **options)[0].objects[0].box[4] == pytest.approx(theta)


def test_reasons_to_ignore():
    categories = [dict(id=0, name='car'), dict(id=1, name='DontCare')]
    objects = parse(
        annotation(),
        annotation(difficult=True),
        annotation(iscrowd=1),
        annotation(category_id=1),
        categories=categories,
        ignore_classes=('DontCare',),
    )[0].objects
    assert [(o.label, o.ignore_reason) for o in objects] == [
        (0, ''),
        (0, 'difficult'),
        (0, 'crowd'),
        (-1, 'ignore-class'),
    ]


def test_unknown_category():
    categories = [dict(id=0, name='car'), dict(id=1, name='boats')]
    with pytest.raises(
        ClassMismatchError,
        match=r"ann.json: category 1: class 'boats'.*Did you mean 'boat'.*ignore_classes=\('boats',\)",
    ):
        parse(categories=categories)
    assert parse(annotation(category_id=1), categories=categories, unknown_class='ignore')[0].objects == []
    with pytest.raises(ClassMismatchError, match=r"none of its categories \['tree'\].*\['car', 'boat'\]"):
        parse(categories=[dict(id=0, name='tree')], unknown_class='ignore')


@pytest.mark.parametrize(
    ('changes', 'match'),
    [
        (dict(bbox=[1, 2, 3, 4]), r'annotation 0 \(id 3\): bbox is \[1, 2, 3, 4\], expected \[cx, cy, w, h, theta\]'),
        (dict(bbox=[1, 2, 3, 4, 5, 6]), r'8 corner numbers'),
        (dict(bbox=[1, 2, 'x', 4, 5]), 'something that is no number'),
        (dict(bbox=[1, 2, float('nan'), 4, 5]), 'value 3 of the box .* is not finite'),
        (dict(bbox=[1, 2, 3, float('inf'), 5]), 'value 4 of the box .* is not finite'),
        (dict(bbox=[1, 2, -3, 4, 0.5]), r'negative width or height'),
        (dict(bbox=[1, 2, 3, 4, 90]), r"theta is 90.0, too large for radians.*angle_unit='deg'"),
        (dict(image_id=9), r'image_id is 9, expected one of the 1 ids'),
        (dict(category_id=5), r'category_id is 5, expected one of the 2 ids'),
    ],
)
def test_bad_annotations_say_which_and_what(changes, match):
    with pytest.raises(AnnotationError, match=match):
        parse(annotation(**changes))


@pytest.mark.parametrize(
    ('images', 'match'),
    [
        ([dict(id=1)], r"image 0 \(id 1\): expected 'id' and 'file_name'"),
        ([IMAGE, IMAGE], r'image 1 \(id 7\): the id occurs twice'),
        ([dict(IMAGE, width=-5)], 'width is -5, expected a whole number of pixels above 0'),
        ([dict(IMAGE, height='80')], "height is '80', expected a whole number"),
    ],
)
def test_bad_images(images, match):
    with pytest.raises(AnnotationError, match=match):
        parse(images=images)


@pytest.mark.parametrize(
    ('categories', 'match'),
    [([dict(id=0)], "category 0: .*'id' and 'name'"), ([dict(id=0, name='car')] * 2, 'id 0 occurs twice')],
)
def test_bad_categories(categories, match):
    with pytest.raises(AnnotationError, match=match):
        parse(categories=categories)


@pytest.mark.parametrize(
    ('content', 'match'),
    [
        (b'', r'the file is empty \(0 bytes\)'),
        (b' \n', 'the file is empty'),
        (b'{"images": [', 'not valid JSON: .*line 1.*cut short'),
        (b'\xff\xfe\x00', 'not valid JSON'),
        (b'[1]', 'no list named images, annotations, categories'),
        (b'{"images": [], "categories": []}', 'no list named annotations'),
    ],
)
def test_bad_files(tmp_path, content, match):
    path = tmp_path / 'ann.json'
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=match):
        load_rotated_coco(str(path))


def test_missing_file(tmp_path):
    with pytest.raises(AnnotationError, match=r'none.json does not exist, expected a JSON file'):
        load_rotated_coco(str(tmp_path / 'none.json'))
    with pytest.raises(AnnotationError, match='is a folder, expected a JSON file'):
        load_rotated_coco(str(tmp_path))

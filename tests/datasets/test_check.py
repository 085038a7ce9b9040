"""The report on a whole dataset."""

import pytest

from stn_det.datasets import DOTADataset, RotatedCocoDataset, check_dataset
from stn_det.errors import DatasetError

BOX = '{x1} 20 {x2} 20 {x2} {y2} {x1} {y2} {name} {flag}\n'


def box(width=20, height=10, name='plane', flag=0, x1=10):
    return BOX.format(x1=x1, x2=x1 + width, y2=20 + height, name=name, flag=flag)


def build(root, **kwargs):
    return DOTADataset(
        data_root=str(root), ann_file='labelTxt', data_prefix=dict(img_path='images'), serialize_data=False, **kwargs
    )


def test_counts_and_percentiles(make_dota):
    text = box() + box(40, 4) + box(30, 12, 'ship') + box(flag=1) + box(0, 0, 'ship') + box(x1=500)
    report = check_dataset(build(make_dota({'a': text, 'b': ''}), metainfo=dict(classes=('plane', 'ship', 'harbor'))))
    assert (report.num_images, report.num_background, report.num_boxes) == (2, 1, 3)
    assert report.boxes_per_class == dict(plane=2, ship=1, harbor=0)
    assert report.ignored == {'difficult': 1, 'outside': 1, 'zero-area': 1}
    assert (report.num_zero_area, report.num_outside) == (1, 1)
    assert report.long_side[50] == pytest.approx(30, abs=1e-4)
    assert report.short_side[50] == pytest.approx(10, abs=1e-4)
    assert report.image_sizes == {(100, 80): 2}


def test_warnings_and_summary(make_dota):
    report = check_dataset(
        build(make_dota({'a': box(6, 4), 'b': '', 'c': ''}), metainfo=dict(classes=('plane', 'ship')))
    )
    text = '\n'.join(report.warnings)
    assert 'no box of ship' in text
    assert '2 of 3 images hold no positive' in text
    assert 'the median short side is 4.0 pixels' in text
    assert '3 images, 2 of them without a positive' in report.summary()
    assert 'warning: no box of ship' in report.summary()


def test_no_positive_at_all(make_dota):
    report = check_dataset(build(make_dota({'a': ''})))
    assert report.warnings[0].startswith('no positive box at all')
    assert report.long_side == {}
    assert report.summary()


def test_ignored_class_counts_once(make_coco):
    categories = [dict(id=0, name='car'), dict(id=1, name='DontCare')]
    rows = [dict(id=i, image_id=7, category_id=i, bbox=[50, 40, 20, 10, 0.5]) for i in range(2)]
    dataset = RotatedCocoDataset(
        data_root=str(make_coco(rows, categories=categories)),
        ann_file='ann.json',
        data_prefix=dict(img_path='images'),
        metainfo=dict(classes=('car', 'boat')),
        ignore_classes=('DontCare',),
    )
    report = check_dataset(dataset)
    assert report.ignored == {'ignore-class': 1}
    assert report.long_side[50] == pytest.approx(20)


def test_needs_classes():
    class Bare:
        metainfo = {}

    with pytest.raises(DatasetError, match='no metainfo'):
        check_dataset(Bare())

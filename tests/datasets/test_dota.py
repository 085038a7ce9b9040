"""The DOTA readers on small datasets."""

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS

from stn_det.datasets import DOTADataset, DOTAv2Dataset, DOTAv15Dataset
from stn_det.errors import (
    AnnotationError,
    ClassMismatchError,
    ConfigError,
    DatasetError,
    ImageError,
)

PLANE = '10 20 30 20 30 40 10 40 plane 0\n'
SHIP = '50 20 70 20 70 40 50 40 ship 0\n'


def build(root, **kwargs):
    options = dict(
        data_root=str(root), ann_file='labelTxt/', data_prefix=dict(img_path='images/'), serialize_data=False
    )
    return DOTADataset(**{**options, **kwargs})


def instances(dataset, index=0):
    return [(i['bbox_label'], i['ignore_flag'], i['ignore_reason']) for i in dataset.get_data_info(index)['instances']]


def test_data_info(make_dota):
    root = make_dota({'b': PLANE, 'a': 'imagesource:GF\ngsd:0.3\n' + PLANE + SHIP})
    dataset = build(root)
    info = dataset.get_data_info(0)
    assert [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))] == ['a', 'b']
    assert info['img_path'] == str(root / 'images' / 'a.png')
    assert (info['width'], info['height'], info['gsd'], info['meta']) == (100, 80, 0.3, {'imagesource': 'GF'})
    assert info['instances'][0] == dict(
        bbox=[10, 20, 30, 20, 30, 40, 10, 40], bbox_label=0, ignore_flag=0, ignore_reason=''
    )
    assert info['instances'][1]['bbox_label'] == DOTADataset.METAINFO['classes'].index('ship')
    assert dataset.get_data_info(1)['gsd'] is None


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif', '.bmp'])
def test_image_formats(make_dota, suffix):
    assert build(make_dota({'a': PLANE}, suffix=suffix)).get_data_info(0)['width'] == 100


def test_versions_and_registry(make_dota):
    text = '10 20 30 20 30 40 10 40 helipad 0'
    root = make_dota({'a': text})
    sizes = {cls: len(cls.METAINFO['classes']) for cls in (DOTADataset, DOTAv15Dataset, DOTAv2Dataset)}
    assert list(sizes.values()) == [15, 16, 18]
    for cls, size in sizes.items():
        assert DATASETS.get(cls.__name__) is cls
        assert len(cls.METAINFO['palette']) == len(set(cls.METAINFO['classes'])) == size
    options = dict(data_root=str(root), ann_file='labelTxt', data_prefix=dict(img_path='images'), serialize_data=False)
    assert DOTAv2Dataset(**options).get_data_info(0)['instances'][0]['bbox_label'] == 17
    with pytest.raises(ClassMismatchError, match=r"a.txt:1: .*class 'helipad'"):
        DOTAv15Dataset(**options)


def test_regions_to_ignore(make_dota):
    text = (
        PLANE
        + '10 20 30 20 30 40 10 40 plane 2\n'
        + '5 5 5 5 5 9 5 9 plane 0\n'
        + '200 20 230 20 230 40 200 40 plane 0\n'
        + '-20 20 0 20 0 40 -20 40 plane 0\n'
        + '90 20 130 20 130 40 90 40 plane 0\n'
    )
    root = make_dota({'a': text})
    dataset = build(root)
    assert [reason for _, _, reason in instances(dataset)] == ['', 'difficult', 'zero-area', 'outside', 'outside', '']
    assert [flag for _, flag, _ in instances(dataset)] == [0, 1, 1, 1, 1, 0]
    assert dataset.get_cat_ids(0) == [0, 0]
    kept = build(root, ignore_difficult=False)
    assert instances(kept)[1] == (0, 0, '')


def test_warning_names_file_and_line(make_dota, monkeypatch):
    messages = []
    monkeypatch.setattr('stn_det.datasets.oriented_dataset.print_log', lambda message, **_: messages.append(message))
    build(make_dota({'a': PLANE + '5 5 5 5 5 9 5 9 plane 0\n', 'b': '200 20 230 20 230 40 200 40 plane 0\n'}))
    assert len(messages) == 2
    assert '1 zero-area boxes; they become regions to ignore' in messages[0]
    assert messages[0].endswith('a.txt:2')
    assert 'outside the image' in messages[1]
    assert messages[1].endswith('b.txt')


def test_own_classes_get_their_own_palette(make_dota):
    dataset = build(make_dota({'a': SHIP}), metainfo=dict(classes=('ship',)))
    assert dataset.metainfo['classes'] == ('ship',)
    assert len(dataset.metainfo['palette']) == 1
    assert instances(dataset) == [(0, 0, '')]


def test_unknown_class_ignored_leaves_the_object_out(make_dota):
    root = make_dota({'a': PLANE + SHIP})
    dataset = build(root, metainfo=dict(classes=('ship',)), unknown_class='ignore')
    assert instances(dataset) == [(0, 0, '')]
    with pytest.raises(ConfigError, match="unknown_class is 'skip'"):
        build(root, unknown_class='skip')


def test_empty_label_file_is_a_background_image(make_dota):
    root = make_dota({'a': PLANE, 'b': '', 'c': '5 5 5 5 5 9 5 9 plane 0'})
    assert len(build(root)) == 3
    assert len(build(root, filter_cfg=dict(filter_empty_gt=True))) == 1
    assert len(build(root, filter_cfg=dict(filter_empty_gt=True), test_mode=True)) == 3
    assert len(build(root, filter_cfg=dict(min_size=80))) == 3
    with pytest.raises(DatasetError, match=r'DOTADataset is empty: 3 images, but none passes .*min_size.: 81'):
        build(root, filter_cfg=dict(min_size=81))


def test_images_without_labels(make_dota):
    root = make_dota({'a': PLANE, 'b': None})
    with pytest.raises(DatasetError, match=r"1 of 2 images have no label file.*b.png.*unlabelled_images='background'"):
        build(root)
    assert instances(build(root, unlabelled_images='background'), 1) == []
    assert [len(instances(build(root, ann_file=''), i)) for i in range(2)] == [0, 0]
    with pytest.raises(ConfigError, match="unlabelled_images is 'maybe'"):
        build(root, unlabelled_images='maybe')


def test_labels_without_images(make_dota):
    root = make_dota({'a': PLANE})
    for name in 'bcdef':
        (root / 'labelTxt' / f'{name}.txt').write_text(PLANE)
    with pytest.raises(DatasetError, match=r'5 of 6 label files have no image .*b.txt, .*c.txt, .*d.txt and 2 more'):
        build(root)


def test_missing_folders(make_dota):
    root = make_dota({'a': PLANE})
    with pytest.raises(DatasetError, match=r'label folder .*nothing does not exist, expected a folder of DOTA label'):
        build(root, ann_file='nothing')
    with pytest.raises(DatasetError, match=r'label folder .*a.txt is a file'):
        build(root, ann_file='labelTxt/a.txt')
    with pytest.raises(DatasetError, match=r'label folder .*images holds no .txt file'):
        build(root, ann_file='images')
    with pytest.raises(DatasetError, match=r'image folder .*nothing does not exist'):
        build(root, data_prefix=dict(img_path='nothing'))


def test_empty_dataset(tmp_path):
    (tmp_path / 'images').mkdir()
    with pytest.raises(DatasetError, match=r'DOTADataset is empty: found no image \(ann_file='):
        build(tmp_path, ann_file='')


def test_broken_header_and_broken_label(make_dota):
    root = make_dota({'a': PLANE})
    (root / 'labelTxt' / 'a.txt').write_bytes(b'\xff\xfe1 2')
    with pytest.raises(AnnotationError, match=r'a.txt: not a text file in UTF-8'):
        build(root)
    (root / 'labelTxt' / 'a.txt').write_text(PLANE)
    (root / 'images' / 'a.png').write_bytes(b'no image')
    with pytest.raises(ImageError, match=r'a.png \(8 bytes\) has no readable header'):
        build(root)
    assert 'width' not in build(root, read_sizes=False).get_data_info(0)


def test_img_list(make_dota):
    root = make_dota({'a': PLANE, 'b': PLANE, 'c': PLANE})
    (root / 'few.txt').write_text('a\nc.png\n\n')
    dataset = build(root, img_list='few.txt')
    assert [dataset.get_data_info(i)['img_id'] for i in range(2)] == ['a', 'c']
    (root / 'few.txt').write_text('a\nd.png\n')
    with pytest.raises(DatasetError, match=r'few.txt: 1 listed images are not in .*labelTxt/?: d.png'):
        build(root, img_list='few.txt')
    (root / 'few.txt').write_text('\n')
    with pytest.raises(DatasetError, match='img_list names no image'):
        build(root, img_list='few.txt')
    with pytest.raises(DatasetError, match='img_list does not exist'):
        build(root, img_list='none.txt')


def test_img_suffix_chooses_between_images_of_one_name(make_dota):
    root = make_dota({'a': PLANE})
    cv2.imwrite(str(root / 'images' / 'a.bmp'), np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(DatasetError, match='both match the label name'):
        build(root)
    assert build(root, img_suffix='bmp').get_data_info(0)['width'] == 40


def test_through_the_pipeline(make_dota):
    pipeline = [
        dict(type='LoadCheckedImage'),
        dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
        dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
        dict(type='PackDetInputs'),
    ]
    sample = build(make_dota({'a': PLANE + '10 20 30 20 30 40 10 40 ship 1\n'}), pipeline=pipeline)[0]
    assert sample['inputs'].shape == (3, 80, 100)
    truth = sample['data_samples'].gt_instances
    assert truth.bboxes.tensor[0, :4].tolist() == [20, 30, 20, 20]
    assert truth.labels.tolist() == [0]
    assert len(sample['data_samples'].ignored_instances) == 1

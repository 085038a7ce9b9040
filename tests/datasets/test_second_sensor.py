"""Datasets whose images come in pairs."""

import json

import cv2
import numpy as np
import pytest

from stn_det.datasets import DOTADataset, RotatedCocoDataset
from stn_det.datasets.scenes import SceneConfig, write_scenes
from stn_det.errors import AnnotationError, ConfigError, DatasetError

PLANE = '10 20 30 20 30 40 10 40 plane 0\n'


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), np.zeros((40, 50), np.uint8))


def dota(root, second='images_second/', **kwargs):
    prefix = dict(img_path='images/', second_img_path=second) | kwargs.pop('prefix', {})
    return DOTADataset(data_root=str(root), ann_file='labelTxt/', data_prefix=prefix, **kwargs)


def seconds(dataset):
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    return {info['img_id']: info['second_img_path'] for info in infos}


def test_a_folder_for_each_sensor(make_dota):
    root = make_dota({'a': PLANE, 'b': PLANE})
    touch(root / 'images_second', 'a.png', 'b.tif', 'of-no-first.png')
    folder = root / 'images_second'
    assert seconds(dota(root)) == {'a': str(folder / 'a.png'), 'b': str(folder / 'b.tif')}
    assert 'second_from_first' not in dota(root).get_data_info(0)


def test_without_a_second_folder_nothing_changes(make_dota):
    root = make_dota({'a': PLANE})
    dataset = DOTADataset(data_root=str(root), ann_file='labelTxt', data_prefix=dict(img_path='images'))
    assert 'second_img_path' not in dataset.get_data_info(0)
    assert dataset.second_sensor is None


def test_both_sensors_in_one_folder(make_dota):
    root = make_dota({'0_co': None, '1_co': None, '0_ir': None, '1_ir': None})
    for stem in '01':
        (root / 'labelTxt' / f'{stem}.txt').write_text(PLANE)
    dataset = dota(root, 'images/', pair_suffixes=('_co', '_ir'))
    assert seconds(dataset) == {stem: str(root / 'images' / f'{stem}_ir.png') for stem in '01'}
    assert dataset.get_data_info(0)['img_path'] == str(root / 'images' / '0_co.png')
    assert len(dataset.get_data_info(0)['instances']) == 1


def test_img_list_names_the_first_images(make_dota):
    root = make_dota({'0_co': None, '1_co': None, '0_ir': None, '1_ir': None})
    for stem in '01':
        (root / 'labelTxt' / f'{stem}.txt').write_text(PLANE)
    for line in ('1', '1_co.png'):
        (root / 'list.txt').write_text(line)
        assert set(seconds(dota(root, 'images/', pair_suffixes=('_co', '_ir'), img_list='list.txt'))) == {'1'}


def test_missing_second_images(make_dota):
    root = make_dota({'a': PLANE, 'b': PLANE, 'c': PLANE})
    touch(root / 'images_second', 'b.png')
    message = (
        r"2 of 3 images have no image of the second sensor in .*a.png, .*c.png. Expected a.png .*missing_second='drop'"
    )
    with pytest.raises(DatasetError, match=message):
        dota(root)
    assert set(seconds(dota(root, missing_second='drop'))) == {'b'}
    touch(root / 'images_second', 'x.png')
    (root / 'images_second' / 'b.png').unlink()
    with pytest.raises(DatasetError, match='is empty'):
        dota(root, missing_second='drop')


def test_an_empty_label_file_keeps_its_pair(make_dota):
    root = make_dota({'a': ''})
    touch(root / 'images_second', 'a.png')
    assert set(seconds(dota(root))) == {'a'}


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (dict(missing_second='skip'), ConfigError, "missing_second is 'skip'"),
        (dict(pair_suffixes='_co'), ConfigError, "pair_suffixes is '_co', expected the endings"),
        (dict(second='nowhere/'), DatasetError, 'nowhere with the images of the second sensor does not exist'),
        (dict(second='images/'), ConfigError, 'each image would be its own second one'),
        (dict(pair_suffixes=('_co', '_ir')), DatasetError, "none of the 1 images .* ends in '_co'"),
        (dict(pipeline=[dict(type='RandomAffine')]), ConfigError, 'RandomAffine: moves'),
    ],
)
def test_what_cannot_be_used(make_dota, options, error, message):
    root = make_dota({'a': PLANE})
    with pytest.raises(error, match=message):
        dota(root, **options)


def test_rotated_coco_with_sub_folders(make_coco):
    box = dict(id=1, image_id=1, category_id=0, bbox=[30, 30, 20, 10, 0.3])
    root = make_coco([box], images=[dict(id=1, file_name='x_vis.png', width=100, height=80)])
    payload = json.loads((root / 'ann.json').read_text())
    payload['images'][0]['file_name'] = 'night/x_vis.png'
    (root / 'ann.json').write_text(json.dumps(payload))
    touch(root / 'images', 'night/x_vis.png')
    touch(root / 'thermal', 'night/x_ir.jpg', 'x_ir.jpg')

    def build(**kwargs):
        prefix = dict(img_path='images/', second_img_path='thermal/')
        return RotatedCocoDataset(
            data_root=str(root),
            ann_file='ann.json',
            data_prefix=prefix,
            metainfo=dict(classes=('car', 'boat')),
            **kwargs,
        )

    assert seconds(build(pair_suffixes=('_vis', '_ir'))) == {1: str(root / 'thermal' / 'night' / 'x_ir.jpg')}
    with pytest.raises(DatasetError, match='1 of 1 images have no image of the second sensor'):
        build(pair_suffixes=('_rgb', '_ir'))


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    config = SceneConfig(size=(96, 64), second='infrared')
    return write_scenes(tmp_path_factory.mktemp('scenes'), 2, config, workers=1, progress=False)


def scene_pairs(root, meta='meta/'):
    classes = ('plane', 'ship', 'small-vehicle', 'large-vehicle', 'storage-tank', 'tennis-court')
    return dota(root, prefix=dict(second_meta_path=meta), metainfo=dict(classes=classes))


def test_generated_scenes_bring_their_misalignment(scenes):
    dataset = scene_pairs(scenes)
    for index in range(2):
        info = dataset.get_data_info(index)
        written = json.loads((scenes / 'meta' / f'{info["img_id"]}.json').read_text())['second']['second_from_first']
        assert np.array_equal(info['second_from_first'], written)
        assert not np.allclose(written, np.eye(3))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'P00000.json cannot be read.*without second_meta_path'),
        ('{', 'P00000.json cannot be read'),
        ('[]', 'is None, expected an invertible matrix'),
        ('{"second": null}', 'is None'),
        ('{"second": {"second_from_first": [[1, 0], [0, 1]]}}', 'expected an invertible matrix of 3x3'),
        ('{"second": {"second_from_first": [[1, 0, 0], [1, 0, 0], [0, 0, 1]]}}', 'expected an invertible'),
        ('{"second": {"second_from_first": [["a", 0, 0], [0, 1, 0], [0, 0, 1]]}}', 'expected an invertible'),
        ('{"second": {"second_from_first": [[NaN, 0, 0], [0, 1, 0], [0, 0, 1]]}}', 'expected an invertible'),
    ],
)
def test_bad_meta_files(scenes, tmp_path, content, message):
    for folder in ('images', 'images_second', 'labelTxt'):
        (tmp_path / folder).symlink_to(scenes / folder)
    (tmp_path / 'meta').mkdir()
    if content is not None:
        (tmp_path / 'meta' / 'P00000.json').write_text(content)
    with pytest.raises(AnnotationError, match=message):
        scene_pairs(tmp_path)

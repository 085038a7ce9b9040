"""The base dataset configs parse, agree with the classes, and build."""

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from stn_det.datasets.scenes import SceneConfig, write_scenes

DOTA_CONFIGS = {'dotav1': 15, 'dotav1_rr': 15, 'dotav1_ms': 15, 'dotav15': 16, 'dotav2': 18, 'scenes': 6}


def load(repository, name):
    return Config.fromfile(repository / 'configs' / '_base_' / 'datasets' / f'{name}.py')


@pytest.mark.parametrize('name', [*DOTA_CONFIGS, 'hit_uav', 'rotated_coco'])
def test_common_parts(repository, name):
    config = load(repository, name)
    assert config.val_evaluator.type == config.test_evaluator.type == 'DOTAMetric'
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert loader.persistent_workers
        assert loader.dataset.pipeline[0].type == 'LoadCheckedImage'
        assert loader.dataset.pipeline[-1].type == 'PackDetInputs'
    steps = [step.type for step in config.test_pipeline]
    assert steps.index('Resize') < steps.index('LoadAnnotations')  # the truth stays in the original frame
    assert config.val_dataloader.dataset.test_mode
    assert not config.val_dataloader.sampler.shuffle


@pytest.mark.parametrize(('name', 'num_classes'), DOTA_CONFIGS.items())
def test_dota_configs_build(repository, tmp_path, name, num_classes):
    config = load(repository, name)
    for split in ('train', 'val'):
        for folder in ('images', 'labelTxt'):
            (tmp_path / split / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / split / 'images' / 'a.png'), np.zeros((256, 512, 3), np.uint8))
        (tmp_path / split / 'labelTxt' / 'a.txt').write_text('20 20 60 20 66 40 26 40 ship 0\n')
    for loader, shape in ((config.train_dataloader, None), (config.val_dataloader, (256, 512))):
        options = loader.dataset.copy()
        options.update(data_root=str(tmp_path), serialize_data=False)
        with DefaultScope.overwrite_default_scope('mmdet'):
            dataset = DATASETS.build(options)
        assert len(dataset.metainfo['classes']) == num_classes
        sample = dataset[0]['data_samples']
        boxes = sample.gt_instances.bboxes.tensor
        if shape is None:
            assert boxes.shape == (1, 5)
        else:
            assert sample.ori_shape == shape
            assert boxes.tolist() == [[20, 20, 60, 20, 66, 40, 26, 40]], 'measured against what the label says'


@pytest.mark.parametrize('clean', [False, True])
def test_dota_mosaic_config_builds(repository, tmp_path, clean):
    config = load(repository, 'dotav1_mosaic')
    for folder in ('images', 'labelTxt'):
        (tmp_path / 'train' / folder).mkdir(parents=True)
    for stem in 'abcd':
        cv2.imwrite(str(tmp_path / 'train' / 'images' / f'{stem}.png'), np.full((1024, 1024, 3), 90, np.uint8))
        (tmp_path / 'train' / 'labelTxt' / f'{stem}.txt').write_text('500 500 540 500 540 520 500 520 ship 0\n')
    options = config.train_dataloader.dataset.copy()
    options.dataset.update(data_root=str(tmp_path), serialize_data=False)
    options.pipeline[0].update(prob=1.0, center_ratio_range=(1.0, 1.0))  # all four images whole
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(options)
    assert len(dataset.metainfo['classes']) == 15
    if clean:
        dataset.update_skip_type_keys(['OrientedMosaic'])
    packed = dataset[0]
    boxes = packed['data_samples'].gt_instances.bboxes.tensor
    assert packed['inputs'].shape == (3, 1024, 1024)
    sides = [40.0, 20.0] if clean else [20.0, 10.0]  # a mosaic shows each image at half its size
    assert boxes[:, 2:4].tolist() == [pytest.approx(sides, abs=1e-3)] * (1 if clean else 4)


def test_scene_pairs_config_builds(repository, tmp_path):
    config = load(repository, 'scene_pairs')
    assert config.metainfo.classes == load(repository, 'scenes').metainfo.classes
    for split in ('train', 'val'):
        scenes = SceneConfig(size=(160, 96), kinds={'parking': 1.0}, second='infrared')
        write_scenes(tmp_path / split, 1, scenes, seed=1, workers=1, progress=False)
    for loader in (config.train_dataloader, config.val_dataloader):
        options = loader.dataset.copy()
        options.update(data_root=str(tmp_path), serialize_data=False)
        with DefaultScope.overwrite_default_scope('mmdet'):
            packed = DATASETS.build(options)[0]
        sample = packed['data_samples']
        assert packed['inputs'].shape == packed['second_inputs'].shape
        assert sorted(packed['inputs'].shape[1:]) == [307, 512]
        assert not np.allclose(sample.second_from_first, np.eye(3), atol=0.01)
        assert sample.gt_instances.bboxes.tensor.shape[1] == (8 if options.get('test_mode') else 5)
        assert sample.ori_shape == (96, 160)


@pytest.mark.real_data
def test_hit_uav_config_builds(repository, real_data):
    config = load(repository, 'hit_uav')
    options = config.val_dataloader.dataset.copy()
    options.update(data_root=str(real_data / 'hit_uav'), img_list='small_val.txt')
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(options)
    assert len(dataset) == 100
    assert dataset[0]['inputs'].shape == (3, 512, 640)

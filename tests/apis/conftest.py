"""A small detector with random weights, and images to use it on."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

DEMO = 'stn_det::oriented_point/oriented-point-le90_mobilenetv2_fpn_demo_scenes.py'


@pytest.fixture(scope='session')
def small_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's config without pretrained weights, on small images."""
    from stn_det.apis import load_config

    cfg = load_config(DEMO)
    cfg.model.backbone.init_cfg = None
    cfg.model.test_cfg.score_thr = 0.0
    cfg.model.test_cfg.max_per_img = 20
    for step in cfg.test_dataloader.dataset.pipeline:
        if step['type'] == 'Resize':
            step['scale'] = (96, 96)
    path = tmp_path_factory.mktemp('config') / 'small.py'
    cfg.dump(path)
    return path


@pytest.fixture(scope='session')
def small_checkpoint(small_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of that detector, as mmengine would save them."""
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    from stn_det.apis import config_classes, load_config

    cfg = load_config(small_config)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    path = tmp_path_factory.mktemp('checkpoint') / 'random.pth'
    meta = {'dataset_meta': {'classes': config_classes(cfg)}}
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Folder with two images of different sizes, one of them in a folder below, and a text file."""
    folder = tmp_path / 'images'
    (folder / 'below').mkdir(parents=True)
    random = np.random.default_rng(0)
    cv2.imwrite(str(folder / 'a.v1.png'), random.integers(0, 255, (80, 120, 3), dtype=np.uint8))
    cv2.imwrite(str(folder / 'below' / 'b.jpg'), random.integers(0, 255, (64, 48, 3), dtype=np.uint8))
    (folder / 'notes.txt').write_text('no image')
    return folder


@pytest.fixture(scope='session')
def scene_config(small_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That detector's config with four small generated scenes as its test set, read without worker processes."""
    from stn_det.apis import load_config
    from stn_det.datasets.scenes import SceneConfig, write_scenes

    folder = tmp_path_factory.mktemp('scenes')
    write_scenes(
        folder / 'val', 4, SceneConfig(size=(128, 128), kinds={'parking': 1.0}), seed=3, workers=1, progress=False
    )
    cfg = load_config(small_config)
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.test_dataloader.dataset.data_root = f'{folder}/'
    cfg.dump(folder / 'scenes.py')
    return folder / 'scenes.py'

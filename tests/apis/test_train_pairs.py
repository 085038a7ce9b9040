"""The shipped two-stream config goes through training and testing on two small pairs."""

from pathlib import Path

import pytest

from stn_det.apis import Predictor, load_config, train
from stn_det.apis import test as run_test
from stn_det.datasets.scenes import SceneConfig, write_scenes
from stn_det.errors import InputError


def small_config(folder: Path) -> Path:
    """The config without pretrained weights, on pairs of 96 pixels."""
    cfg = load_config('stn_det::two_stream/two-stream-le90_mobilenetv2_fpn_12e_scene-pairs.py')
    cfg.model.detector.backbone.init_cfg = None
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(folder)
        loader.dataset.pipeline[4 if split == 'train' else 2].scale = (96, 96)
    path = folder / 'small.py'
    cfg.dump(path)
    return path


def test_train_and_test(tmp_path: Path) -> None:
    scenes = SceneConfig(size=(96, 96), kinds={'parking': 1.0}, second='infrared')
    for split in ('train', 'val'):
        write_scenes(tmp_path / split, 2, scenes, seed=1, workers=1, progress=False)
    config = small_config(tmp_path)
    run = train(config, work_dir=tmp_path / 'run', progress=False)
    metrics = run_test(config, run.checkpoint, work_dir=tmp_path / 'tested')
    assert 0 <= metrics['dota/mAP'] <= 1
    image = tmp_path / 'val' / 'images' / 'P00000.png'
    with pytest.raises(InputError, match=r'has no second_img_path.*needs both sensors'):
        Predictor(config, run.checkpoint)(image)

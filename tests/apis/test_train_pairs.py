"""The shipped two-stream configs go through training and testing on two small pairs."""

from pathlib import Path

import pytest
import torch

from stn_det.apis import Predictor, load_config, train
from stn_det.apis import test as run_test
from stn_det.datasets.scenes import SceneConfig, write_scenes
from stn_det.errors import InputError

STEM = 'le90_mobilenetv2_fpn_12e_scene-pairs'


def small_config(folder: Path, name: str) -> Path:
    """A config without pretrained weights, on pairs of 96 pixels."""
    cfg = load_config(name)
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


@pytest.mark.parametrize('name', [f'two-stream-{STEM}', f'two-stream-align-{STEM}_jitter'])
def test_train_and_test(tmp_path: Path, name: str) -> None:
    scenes = SceneConfig(size=(96, 96), kinds={'parking': 1.0}, second='infrared')
    for split in ('train', 'val'):
        write_scenes(tmp_path / split, 2, scenes, seed=1, workers=1, progress=False)
    config = small_config(tmp_path, name)
    run = train(config, work_dir=tmp_path / 'run', progress=False)
    weights = torch.load(run.checkpoint, weights_only=False)['state_dict']
    assert ('align' in name) == ('align.coarse.gate' in weights)
    assert 'align' not in name or weights['align.coarse.gate'].abs().min() > 0, 'the alignment is taught'
    metrics = run_test(config, run.checkpoint, work_dir=tmp_path / 'tested')
    assert 0 <= metrics['dota/mAP'] <= 1
    image = tmp_path / 'val' / 'images' / 'P00000.png'
    with pytest.raises(InputError, match=r'has no second_img_path.*needs both sensors'):
        Predictor(config, run.checkpoint)(image)

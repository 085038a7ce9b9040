"""Trainings of benchmarks: shipped configs with data, weights, seed and length put in, that go on where they were."""

from pathlib import Path

from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

from stn_det.apis import load_config, train


def configure(stem: str, data: Path, weights: Path, seed: int, epochs: int) -> Config:
    """A shipped config with data, weights, seed and length put in."""
    config = load_config(stem)
    for part in ('train', 'val', 'test'):
        config[f'{part}_dataloader'].dataset.data_root = f'{data.resolve()}/'
    detector = config.model.get('detector', config.model)
    detector.backbone.init_cfg.checkpoint = str(weights)
    config.randomness = dict(seed=seed)
    config.train_cfg.update(max_epochs=epochs, val_interval=epochs)
    for scheduler in config.param_scheduler:
        if scheduler.type == 'CosineAnnealingLR':
            scheduler.update(end=epochs, T_max=epochs)
    config.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1, max_keep_ckpts=1)
    return config


def trained(config: Config, folder: Path) -> Path:
    """Weights after the last epoch; a run that was interrupted goes on."""
    last = f'epoch_{config.train_cfg.max_epochs}.pth'
    newest = find_latest_checkpoint(str(folder)) if folder.is_dir() else None
    if newest is None or Path(newest).name != last:
        train(config, work_dir=folder, resume=True)
    return folder / last

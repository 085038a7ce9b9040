"""What benchmarks that train several detectors share: configs made ready, runs that go on, times taken in turns."""

import statistics
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
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


def times(models: dict[str, tuple[Config, Path]], size: tuple[int, int] = (320, 320)) -> dict[str, float]:
    """Median milliseconds of ``predict`` on one image of ``size`` (height, width), the models taken in turns."""
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample

    built = {}
    for name, (config, checkpoint) in models.items():
        with DefaultScope.overwrite_default_scope('mmdet'):  # set by no runner where all is trained and tested already
            model = MODELS.build(config.model)
        model.load_state_dict(torch.load(checkpoint, weights_only=False)['state_dict'])
        built[name] = model.eval()
    image = torch.randn(1, 3, *size)
    meta = dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
    runs: dict[str, list[float]] = {name: [] for name in models}
    with torch.no_grad():
        for _ in range(60):
            for name, model in built.items():
                start = time.perf_counter()
                model(image, [DetDataSample(metainfo=meta)], mode='predict')
                runs[name].append(1e3 * (time.perf_counter() - start))
    return {name: round(statistics.median(values[10:]), 2) for name, values in runs.items()}

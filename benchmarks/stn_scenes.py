"""What a spatial transformer buys a detector: scenes that have a right way up, trained upright, tested turned.

The same detector without and with a spatial transformer, without and with images turned in training, equal budget and
several seeds; average precision against the turn of the test images, and the time of an image.

    python benchmarks/stn_scenes.py --work-dir work_dirs/stn_scenes

Interrupt it when you like: the same command goes on. The record is ``results/stn_scenes.json``.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from record import write_record
from training import configure, trained

from stn_det.apis import distortion_benchmark
from stn_det.apis.pretrained import fetch_mobilenetv2
from stn_det.datasets.scenes import SceneConfig, write_scenes

STEM = 'oriented-point-le90_mobilenetv2_fpn_12e_upright-scenes'
VARIANTS = {
    'plain': STEM,
    'rotate': f'{STEM}_rotate',
    'stn': f'stn-turn_{STEM}',
    'stn, rotate': f'stn-turn_{STEM}_rotate',
}
SCENES = SceneConfig(
    size=(320, 320), gsd=(0.18, 0.3), yaw=(-5, 5), obliquity=(0, 10), tilt_azimuth=(0, 0), sun_azimuth=(110, 160)
)
LEVELS = (0, 15, 30, 45, 60, 90, 120, 150, 180)  # degrees
VAL_SEED = 1_000_000


def main() -> None:
    """Parses the command line; makes scenes, trains, measures, writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/stn_scenes'))
    parser.add_argument('--train-images', type=int, default=800)
    parser.add_argument('--val-images', type=int, default=120)
    parser.add_argument('--epochs', type=int, default=12)
    parser.add_argument('--seeds', type=int, default=2, help='number of seeds (default: %(default)s)')
    parser.add_argument('--variants', nargs='+', choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument('--name', default='stn_scenes', help='of the record')
    options = parser.parse_args()
    folder, data = options.work_dir, options.work_dir / 'data'
    write_scenes(data / 'train', options.train_images, SCENES, workers=2)
    write_scenes(data / 'val', options.val_images, SCENES, seed=VAL_SEED, workers=2)
    weights = fetch_mobilenetv2(folder / 'mobilenet_v2.pth').resolve()
    models = {}
    for variant in options.variants:
        for seed in range(options.seeds):
            name = f'{variant} ({seed})'
            config = configure(VARIANTS[variant], data, weights, seed, options.epochs)
            models[name] = config, trained(config, folder / 'runs' / name.replace(', ', '-').replace(' ', '_'))
    report = distortion_benchmark(
        list(models.values()), names=list(models), levels={'rotation': LEVELS}, families=['rotation'],
        out_dir=folder / 'distortion',
    )  # fmt: skip
    found = report.record['families']['rotation']['models']
    curves = {name: found[name] for name in models}
    record = {
        'train_images': options.train_images, 'val_images': options.val_images, 'epochs': options.epochs,
        'configs': {variant: VARIANTS[variant] for variant in options.variants}, 'scenes': SCENES.to_dict(),
        'curves': curves, 'ms_per_image': times(models, options.variants),
    }  # fmt: skip
    print(report.table())
    print(write_record(options.name, record))


def times(models: dict[str, tuple[Config, Path]], variants: list[str]) -> dict[str, Any]:
    """Median milliseconds of ``predict`` on one image for the first seed of each variant, taken in turns."""
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample

    built = {}
    for variant in variants:
        config, checkpoint = models[f'{variant} (0)']
        model = MODELS.build(config.model)
        model.load_state_dict(torch.load(checkpoint, weights_only=False)['state_dict'])
        built[variant] = model.eval()
    image = torch.randn(1, 3, 320, 320)
    meta = dict(img_shape=(320, 320), ori_shape=(320, 320), scale_factor=(1.0, 1.0))
    runs: dict[str, list[float]] = {variant: [] for variant in variants}
    with torch.no_grad():
        for _ in range(60):
            for variant, model in built.items():
                start = time.perf_counter()
                model(image, [DetDataSample(metainfo=meta)], mode='predict')
                runs[variant].append(1e3 * (time.perf_counter() - start))
    return {variant: round(statistics.median(values[10:]), 2) for variant, values in runs.items()}


if __name__ == '__main__':
    main()

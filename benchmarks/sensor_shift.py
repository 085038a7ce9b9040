"""What alignment saves of a detector whose second sensor is shifted: generated pairs of hazy colour and infrared.

Four models of equal budget: the first sensor alone; both, trained on registered pairs; both, with the infrared shifted
in training; and that with CrossSensorAlign. Average precision against the shift of the infrared image, the share of
the loss that alignment recovers, and how far its estimates are off.

    python benchmarks/sensor_shift.py --work-dir work_dirs/sensor_shift

Interrupt it when you like: the same command goes on. The record is ``results/sensor_shift.json``.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from record import write_record
from training import configure, trained

from stn_det.apis import distortion_benchmark
from stn_det.apis.distortion_model import level_config, prepare_model
from stn_det.apis.distortion_plan import Settings
from stn_det.apis.pretrained import fetch_mobilenetv2
from stn_det.datasets.scenes import SceneConfig, write_scenes
from stn_det.geometry import transform_points

STEM = 'le90_mobilenetv2_fpn_12e_scene-pairs'
VARIANTS = {
    'first sensor': f'two-stream-{STEM}',
    'registered': f'two-stream-{STEM}',
    'jitter': f'two-stream-{STEM}_jitter',
    'aligned': f'two-stream-align-{STEM}_jitter',
}
SIDE = 320  # pixels
# Haze that leaves colour about a fifth of its contrast, so that infrared, which sees through it, matters.
SCENES = SceneConfig(
    size=(SIDE, SIDE), gsd=(0.16, 0.26), obliquity=(0, 10), haze=(0.6, 0.78), noise=(4, 8), low_contrast=0.5,
    second='infrared', second_scale=(1, 1), second_rotation=(0, 0), second_shift=(0, 0),
)  # fmt: skip
LEVELS = (0, 2, 4, 8, 16, 32)  # pixels
ASKED = (8, 16)  # pixels at which the share of the loss recovered is printed
VAL_SEED = 1_000_000
Curve = dict[float, float]


def main() -> None:
    """Parses the command line; makes scenes, trains, measures, writes the record."""
    options = parse()
    folder, data = options.work_dir, options.work_dir / 'data'
    write_scenes(data / 'train', options.train_images, SCENES, workers=2)
    write_scenes(data / 'val', options.val_images, SCENES, seed=VAL_SEED, workers=2)
    weights = fetch_mobilenetv2(folder / 'mobilenet_v2.pth').resolve()
    models = {}
    for seed in range(options.seeds):
        for variant in VARIANTS:
            name = f'{variant} ({seed})'
            config = pair_config(variant, data, weights, seed, options.epochs, options.family)
            models[name] = config, trained(config, folder / 'runs' / name.replace(' ', '_'))
    report = distortion_benchmark(
        list(models.values()), names=list(models), levels={'shift': LEVELS}, out_dir=folder / 'distortion'
    )
    found = {name: entry['levels'] for name, entry in report.record['families']['shift']['models'].items()}
    curves = {variant: mean_curve(variant, found, options.seeds) for variant in VARIANTS}
    shares = {other: recovered(curves, other) for other in ('registered', 'jitter')}
    record = {
        'train_images': options.train_images, 'val_images': options.val_images, 'epochs': options.epochs,
        'family': options.family, 'configs': VARIANTS, 'scenes': SCENES.to_dict(), 'curves': found,
        'mAP': curves, 'recovered': shares,
        'error_px': {f'seed {seed}': alignment_errors(*models[f'aligned ({seed})']) for seed in range(options.seeds)},
    }  # fmt: skip
    print(report.table())
    for other, share in shares.items():
        for level in ASKED:
            print(f'{level} px, against {other!r}: {_percent(share[level])} of the loss recovered')
    print(write_record(options.name, record))


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/sensor_shift'))
    parser.add_argument('--train-images', type=int, default=400)
    parser.add_argument('--val-images', type=int, default=100)
    parser.add_argument('--epochs', type=int, default=8)
    parser.add_argument('--seeds', type=int, default=1, help='number of seeds (default: %(default)s)')
    parser.add_argument('--family', default='translation', help='of the alignment (default: %(default)s)')
    parser.add_argument('--name', default='sensor_shift', help='of the record')
    return parser.parse_args()


def pair_config(variant: str, data: Path, weights: Path, seed: int, epochs: int, family: str) -> Config:
    """The config of a variant for images of ``SIDE`` pixels, which are not resized: shifts are those of the files."""
    config = configure(VARIANTS[variant], data, weights, seed, epochs)
    for part in ('train', 'val', 'test'):
        for step in config[f'{part}_dataloader'].dataset.pipeline:
            if step.type == 'Resize':
                step.scale = (SIDE, SIDE)
    if variant == 'first sensor':
        config.model.sensors = 'first'
    if variant == 'aligned':
        config.model.align.family = family
    return config


def mean_curve(variant: str, found: dict[str, list[dict[str, Any]]], seeds: int) -> Curve:
    """mAP by level, mean of the seeds; 0 where a class has none."""
    runs = [found[f'{variant} ({seed})'] for seed in range(seeds)]
    return {rows[0]['level']: statistics.mean(row['mAP'] or 0.0 for row in rows) for rows in zip(*runs)}


def recovered(curves: dict[str, Curve], other: str) -> dict[float, float | None]:
    """Share of the loss of ``other`` under a shift that the aligned model does not have, by level.

    The loss is counted from what training and testing on registered pairs give; None where there is none.
    """
    whole = curves['registered'][0]
    shares = {}
    for level, without in curves[other].items():
        loss = whole - without
        shares[level] = (curves['aligned'][level] - without) / loss if loss > 0 else None
    return shares


@torch.no_grad()
def alignment_errors(config: Config, checkpoint: Path) -> dict[float, float]:
    """Median distance in pixels, by level, of the frame's corners from where the coarse warp puts them."""
    settings = Settings()
    prepared = prepare_model(config, checkpoint, 'aligned', settings)
    init_default_scope('mmdet')
    model = MODELS.build(config.model)
    model.load_state_dict(torch.load(checkpoint, weights_only=False)['state_dict'])
    model.eval()
    errors = {}
    for level in LEVELS:
        cfg = level_config(prepared, 'shift', level, LEVELS, settings, checkpoint.parent)
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        errors[level] = round(statistics.median(_corner_error(model, sample) for sample in dataset), 3)
    return errors


def _corner_error(model: Any, sample: dict[str, Any]) -> float:
    """Mean distance in pixels of the corners of one pair from where they belong."""
    inputs = model.data_preprocessor(pseudo_collate([sample]))['inputs']
    estimate = model.fuse(inputs)[1]['match'].estimates[-1][0].double()
    truth = torch.as_tensor(sample['data_samples'].second_from_first)
    corners = torch.tensor([[0.0, 0.0], [SIDE, 0.0], [SIDE, SIDE], [0.0, SIDE]], dtype=torch.float64)
    return (transform_points(corners, estimate) - transform_points(corners, truth)).norm(dim=1).mean().item()


def _percent(share: float | None) -> str:
    return 'none (there is no loss)' if share is None else f'{100 * share:.0f} %'


if __name__ == '__main__':
    main()

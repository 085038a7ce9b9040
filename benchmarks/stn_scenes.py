"""What a spatial transformer buys a detector: images that have a right way up, trained upright, tested turned.

    python benchmarks/stn_scenes.py
    python benchmarks/stn_scenes.py --hit-uav data/hit_uav --epochs 4

The same detector without and with a spatial transformer, without and with images turned in training, equal budget and
several seeds; average precision against the turn of the test images, and the time of an image. On generated scenes, or
on HIT-UAV's validation split (by capture date, see ``hit_uav.py``), where only oblique images have a right way up.
Interrupt it when you like: the same command goes on. The records are ``results/stn_scenes.json`` and
``results/stn_hit-uav.json``.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from hit_uav import AVERAGED
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from record import write_record
from training import configure, times, trained

from stn_det.apis import distortion_benchmark
from stn_det.apis.pretrained import fetch_mobilenetv2
from stn_det.datasets.scenes import SceneConfig, write_scenes
from stn_det.visualization import draw_transformer
from stn_det.visualization.files import save_image

DETECTOR = 'oriented-point-le90_mobilenetv2_fpn'
STEMS = {'scenes': f'{DETECTOR}_12e_upright-scenes', 'hit-uav': f'{DETECTOR}_4e_hit-uav-upright'}
VARIANTS = {'plain': '{}', 'rotate': '{}_rotate', 'stn': 'stn-turn_{}', 'stn, rotate': 'stn-turn_{}_rotate'}
SCENES = SceneConfig(
    size=(320, 320), gsd=(0.18, 0.3), yaw=(-5, 5), obliquity=(0, 10), tilt_azimuth=(0, 0), sun_azimuth=(110, 160)
)
LEVELS = {'scenes': (0, 15, 30, 45, 60, 90, 120, 150, 180), 'hit-uav': (0, 30, 60, 90, 135, 180)}  # degrees
SIZES = {'scenes': ((320, 320), (1024, 1024)), 'hit-uav': ((512, 640),)}  # of the images that are timed, pixels
DRAWN, TURNS = (0, 5, 9), (60, 150)  # images, degrees
VAL_SEED = 1_000_000


def main() -> None:
    """Trains, measures, writes the record."""
    options = command_line()
    kind = 'hit-uav' if options.hit_uav else 'scenes'
    name = f'stn_{kind}'
    folder = options.work_dir or Path('work_dirs') / name
    data = options.hit_uav or made_scenes(folder / 'data', options.train_images, options.val_images)
    weights = fetch_mobilenetv2(folder / 'mobilenet_v2.pth').resolve()
    stems = {variant: VARIANTS[variant].format(STEMS[kind]) for variant in options.variants}
    models = {}
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    for seed in seeds:
        for variant, stem in stems.items():
            config = configure(stem, data, weights, seed, options.epochs)
            run = f'{variant} ({seed})'
            models[run] = config, trained(config, folder / 'runs' / run.replace(', ', '-').replace(' ', '_'))
    report = distortion_benchmark(
        list(models.values()), names=list(models), levels={'rotation': LEVELS[kind]}, families=['rotation'],
        max_images=None if kind == 'scenes' else options.val_images, out_dir=folder / 'distortion',
    )  # fmt: skip
    found = report.record['families']['rotation']['models']
    firsts = {variant: models[f'{variant} ({seeds[0]})'] for variant in options.variants}
    record = {
        'data': kind, 'train_images': options.train_images, 'val_images': options.val_images, 'epochs': options.epochs,
        'configs': stems, 'scenes': SCENES.to_dict() if kind == 'scenes' else None,
        'averaged': list(AVERAGED) if kind == 'hit-uav' else 'all classes',
        'mAP': {run: course(found[run]['levels'], kind) for run in models},
        'curves': {run: found[run] for run in models},
        'ms_per_image': {f'{width} x {height} px': times(firsts, (height, width)) for height, width in SIZES[kind]},
    }  # fmt: skip
    print(table(record['mAP']))
    if 'stn' in options.variants:
        print(draw(*firsts['stn'], folder / 'upright.jpg'))
    print(write_record(options.name or name, record))


def command_line() -> argparse.Namespace:
    """Options; the numbers of images are those of the scenes unless HIT-UAV is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--hit-uav', type=Path, metavar='FOLDER', help='images/, annotations/, small_train.txt')
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/<name of the record>')
    parser.add_argument('--train-images', type=int, default=800, help='scenes (default: %(default)s)')
    parser.add_argument('--val-images', type=int, help='default: 120 scenes, or 100 images of HIT-UAV')
    parser.add_argument('--epochs', type=int, default=12)
    parser.add_argument('--seeds', type=int, default=2, help='number of seeds (default: %(default)s)')
    parser.add_argument('--first-seed', type=int, default=0, help='of those seeds; give the record a name of its own')
    parser.add_argument('--variants', nargs='+', choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument('--name', help='of the record')
    options = parser.parse_args()
    if options.hit_uav:
        options.train_images = 600  # small_train.txt
    options.val_images = options.val_images or (100 if options.hit_uav else 120)
    return options


def made_scenes(data: Path, train_images: int, val_images: int) -> Path:
    """The folder of the scenes, written where they are missing."""
    write_scenes(data / 'train', train_images, SCENES, workers=2)
    write_scenes(data / 'val', val_images, SCENES, seed=VAL_SEED, workers=2)
    return data


def course(levels: list[dict[str, Any]], kind: str) -> dict[str, float]:
    """mAP at each level; that of HIT-UAV without the class that has 23 objects in val."""
    if kind == 'scenes':
        return {f'{row["level"]:g}': row['mAP'] for row in levels}
    return {f'{row["level"]:g}': statistics.fmean(row['classes']['mAP'][name] for name in AVERAGED) for row in levels}


def table(courses: dict[str, dict[str, float]]) -> str:
    """Rows of runs: mAP in percent at each turn, and the mean over all turns but 0."""
    turns = list(next(iter(courses.values())))
    lines = [f'{"":16}' + ''.join(f'{turn:>7}' for turn in turns) + f'{"turned":>9}']
    for run, found in courses.items():
        mean = statistics.fmean(value for turn, value in found.items() if turn != '0')
        lines.append(f'{run:16}' + ''.join(f'{100 * value:7.1f}' for value in found.values()) + f'{100 * mean:9.1f}')
    return '\n'.join(lines)


@torch.no_grad()
def draw(config: Config, checkpoint: Path, path: Path) -> Path:
    """A picture of validation images under two turns, and what the transformer makes of them."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset, model = DATASETS.build(config.val_dataloader.dataset), MODELS.build(config.model)
    model.load_state_dict(torch.load(checkpoint, weights_only=False)['state_dict'])
    samples = [dataset[index] for index in DRAWN if index < len(dataset)]
    return save_image(path, draw_transformer(model, samples, TURNS))


if __name__ == '__main__':
    main()

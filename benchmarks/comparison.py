"""Detectors trained on equal terms and compared: generated scenes or HIT-UAV, several seeds, figures, a record."""

import argparse
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hit_uav import AVERAGED
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from record import commit_of_training, training_seconds, write_record
from torch.utils.flop_counter import FlopCounterMode
from training import configure, times, trained

from stn_det.apis import test
from stn_det.apis.pretrained import fetch_mobilenetv2
from stn_det.datasets.scenes import SceneConfig, write_scenes

SCENES = SceneConfig(size=(320, 320), gsd=(0.18, 0.3))
SIZES = {'scenes': (320, 320), 'hit-uav': (640, 800)}  # height and width of the network's input, pixels
FIGURES = ('AP50', 'AP75', 'mAP')
VAL_SEED = 1_000_000


def command_line(text: str, variants: Mapping[str, Any]) -> argparse.Namespace:
    """Options; the numbers of images are those of the scenes unless HIT-UAV is asked for.

    Args:
        text: What the benchmark is about.
        variants: Names to choose from.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--hit-uav', type=Path, metavar='FOLDER', help='images/, annotations/, small_train.txt')
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/<name of the record>')
    parser.add_argument('--train-images', type=int, help='default: 600 scenes, or the 600 images of small_train.txt')
    parser.add_argument('--val-images', type=int, help="default: 150 scenes, or all 287 images of HIT-UAV's val")
    parser.add_argument('--epochs', type=int, default=10)
    parser.add_argument('--seeds', type=int, default=2, help='number of seeds (default: %(default)s)')
    parser.add_argument('--variants', nargs='+', choices=list(variants), default=list(variants))
    parser.add_argument('--name', help='of the record')
    options = parser.parse_args()
    options.train_images = options.train_images or 600
    options.val_images = options.val_images or (287 if options.hit_uav else 150)
    return options


def compare(
    options: argparse.Namespace,
    stems: Mapping[str, str],
    name: str,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Train, measure, print a table, write the record.

    Args:
        options: Of the command line.
        stems: Shipped config of each variant, by the name of the variant.
        name: Of the record, unless the options give one.
        changes: What a variant's config is changed by, keys with dots, by the name of the variant.
    """
    changes = changes or {}
    kind = kind_of(options)
    folder = options.work_dir or Path('work_dirs') / name
    settings = {'data': kind} | {key: getattr(options, key) for key in ('train_images', 'val_images', 'epochs')}
    claim(folder, settings)
    commit = commit_of_training(folder)
    data = options.hit_uav or made_scenes(folder / 'data', options.train_images, options.val_images)
    weights = fetch_mobilenetv2(folder / 'mobilenet_v2.pth').resolve()
    models: dict[str, tuple[Config, Path]] = {}
    runs: dict[str, list[dict[str, float]]] = {variant: [] for variant in options.variants}
    for seed in range(options.seeds):
        for variant in options.variants:
            config = configure(stems[variant], data, weights, seed, options.epochs)
            config.merge_from_dict(dict(changes.get(variant, {})))
            fit(config, kind, options.train_images, options.val_images)
            run = folder / 'runs' / f'{variant}_{seed}'
            checkpoint = trained(config, run)
            models.setdefault(variant, (config, checkpoint))
            metrics = tested(config, checkpoint)
            runs[variant].append({**figures(metrics, kind), 'seconds_train': training_seconds(run)})
    record = {
        **settings, 'commit_of_training': commit, 'scenes': SCENES.to_dict() if kind == 'scenes' else None,
        'averaged': list(AVERAGED) if kind == 'hit-uav' else 'all classes',
        'configs': {variant: stems[variant] for variant in options.variants},
        'changes': {variant: dict(changes[variant]) for variant in options.variants if changes.get(variant)},
        'runs': runs, **summary(runs, times(models, SIZES[kind])),
        'sizes': {variant: sizes(config, SIZES[kind]) for variant, (config, _) in models.items()},
    }  # fmt: skip
    print(table(record))
    print(write_record(options.name or name, record))


def kind_of(options: argparse.Namespace) -> str:
    """'scenes' or 'hit-uav'."""
    return 'hit-uav' if options.hit_uav else 'scenes'


def claim(folder: Path, settings: dict[str, Any]) -> None:
    """Note the settings in a new work folder; refuse one that was begun with others, whose runs would be mixed in."""
    note = folder / 'settings.json'
    if not note.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(settings))
    found = json.loads(note.read_text())
    if found != settings:
        raise SystemExit(f'{folder} holds runs with {found}, not {settings}; give another --work-dir')


def made_scenes(data: Path, train_images: int, val_images: int) -> Path:
    """The folder of the scenes, written where they are missing."""
    write_scenes(data / 'train', train_images, SCENES, workers=2)
    write_scenes(data / 'val', val_images, SCENES, seed=VAL_SEED, workers=2)
    return data


def fit(config: Config, kind: str, train_images: int, val_images: int) -> None:
    """Scenes are not enlarged to the 512 pixels of their config; of HIT-UAV's lists the first images are taken."""
    for part, count in (('train', train_images), ('val', val_images), ('test', val_images)):
        dataset = config[f'{part}_dataloader'].dataset
        if kind == 'hit-uav':
            dataset.indices = count
            continue
        for step in dataset.pipeline:
            if step.type == 'Resize':
                step.scale = SCENES.size


def tested(config: Config, checkpoint: Path) -> dict[str, float]:
    """Metrics of a checkpoint, kept beside it."""
    kept = checkpoint.parent / 'metrics.json'
    if not kept.is_file():
        test(config, checkpoint, work_dir=checkpoint.parent, out=kept)
    return json.loads(kept.read_text())


def figures(metrics: dict[str, float], kind: str) -> dict[str, float]:
    """AP50, AP75 and mAP; those of HIT-UAV without the class that has 23 objects in val."""
    if kind == 'scenes':
        return {key: metrics[f'dota/{key}'] for key in FIGURES}
    return {key: statistics.fmean(metrics[f'dota/{key}_{name}'] for name in AVERAGED) for key in FIGURES}


def sizes(config: Config, size: tuple[int, int]) -> dict[str, float]:
    """Millions of parameters, and thousand millions of multiplications and additions for one image (height, width).

    Products and convolutions are counted as PyTorch sees them. What a deformable convolution samples, and the operators
    of boxes, are not in it.
    """
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model).eval()
    meta = dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.randn(1, 3, *size), [DetDataSample(metainfo=meta)], mode='predict')
    weights = sum(weight.numel() for weight in model.parameters())
    return {'parameters_M': round(weights / 1e6, 3), 'gflops': round(counter.get_total_flops() / 1e9, 3)}


def summary(runs: dict[str, list[dict[str, float]]], ms: dict[str, float]) -> dict[str, Any]:
    """Means over the seeds, milliseconds of an image, and what a variant adds to the plain detector's."""
    keys = (*FIGURES, 'seconds_train')
    mean = {variant: {key: statistics.fmean(run[key] for run in of) for key in keys} for variant, of in runs.items()}
    more = {variant: round(value - ms['plain'], 2) for variant, value in ms.items()} if 'plain' in ms else None
    return {'mean': mean, 'ms_per_image': ms, 'extra_ms': more}


def table(record: dict[str, Any]) -> str:
    """Rows of variants: figures in percent, the mean and those of each seed."""
    heads = ''.join(f'{key:>22}' for key in FIGURES)
    lines = [f'{"":12}{heads}{"ms/image":>10}{"train, s":>10}{"M param.":>10}{"GFLOPs":>9}']
    for variant, runs in record['runs'].items():
        mean, cells = record['mean'][variant], ''
        for key in FIGURES:
            each = ' '.join(f'{100 * run[key]:.1f}' for run in runs)
            cells += f'{f"{100 * mean[key]:.1f} ({each})":>22}'
        lines.append(
            f'{variant:12}{cells}{record["ms_per_image"][variant]:10}{mean["seconds_train"]:10.0f}'
            f'{record["sizes"][variant]["parameters_M"]:10.2f}{record["sizes"][variant]["gflops"]:9.1f}'
        )
    return '\n'.join(lines)

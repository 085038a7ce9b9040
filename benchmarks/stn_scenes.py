"""What a spatial transformer buys a detector: scenes that have a right way up, trained upright, tested turned.

The same detector without and with a spatial transformer, without and with images turned in training, equal budget and
several seeds; average precision against the turn of the test images, and the time of an image.

    python benchmarks/stn_scenes.py --work-dir work_dirs/stn_scenes

Interrupt it when you like: the same command goes on. The record is ``results/stn_scenes.json``.
"""

import argparse
from pathlib import Path

import torch
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
SIDES = 320, 1024  # of the images that are timed, pixels
DRAWN, TURNS = (0, 5, 9), (60, 150)  # images, degrees
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
    for seed in range(options.seeds):
        for variant in options.variants:
            name = f'{variant} ({seed})'
            config = configure(VARIANTS[variant], data, weights, seed, options.epochs)
            models[name] = config, trained(config, folder / 'runs' / name.replace(', ', '-').replace(' ', '_'))
    report = distortion_benchmark(
        list(models.values()), names=list(models), levels={'rotation': LEVELS}, families=['rotation'],
        out_dir=folder / 'distortion',
    )  # fmt: skip
    found = report.record['families']['rotation']['models']
    curves = {name: found[name] for name in models}
    firsts = {variant: models[f'{variant} (0)'] for variant in options.variants}
    record = {
        'train_images': options.train_images, 'val_images': options.val_images, 'epochs': options.epochs,
        'configs': {variant: VARIANTS[variant] for variant in options.variants}, 'scenes': SCENES.to_dict(),
        'curves': curves, 'ms_per_image': {f'{side} px': times(firsts, (side, side)) for side in SIDES},
    }  # fmt: skip
    print(report.table())
    if 'stn' in options.variants:
        print(draw(*models['stn (0)'], folder / 'upright.jpg'))
    print(write_record(options.name, record))


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

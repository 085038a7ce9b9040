"""Train on the HIT-UAV subset, evaluate on its whole validation split, write the figures.

The split is by capture date (train and validation share no day), the images are 640 x 512 thermal. Figures are on
`val`; there is no tuning on anything else.

Example: python benchmarks/hit_uav.py data/hit_uav --config oriented-point-le90_mobilenetv2_fpn_4e_hit-uav-small
"""

import argparse
import time
from pathlib import Path

from record import commit_of_training, training_seconds, write_record

from stn_det.apis import load_config, test, train
from stn_det.apis.pretrained import fetch_mobilenetv2

CLASSES = ('Person', 'Car', 'Bicycle', 'OtherVehicle')
AVERAGED = CLASSES[:3]  # OtherVehicle has 23 instances in val: reported, not averaged
CONFIG = 'oriented-point-le90_mobilenetv2_fpn_12e_hit-uav-small'


def main() -> None:
    """Parses the command line, trains, tests, writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder of HIT-UAV: images/, annotations/, small_train.txt')
    parser.add_argument('--config', default=CONFIG, help='shipped config (default: %(default)s)')
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/<config>')
    arguments = parser.parse_args()
    work_dir = arguments.work_dir or Path('work_dirs') / Path(arguments.config).stem
    root = f'{arguments.data.resolve()}/'
    options = {f'{part}_dataloader.dataset.data_root': root for part in ('train', 'val', 'test')}
    options['model.backbone.init_cfg.checkpoint'] = str(fetch_mobilenetv2('checkpoints/mobilenet_v2.pth').resolve())

    commit = commit_of_training(work_dir)
    result = train(arguments.config, work_dir=work_dir, resume='auto', cfg_options=options)
    start = time.perf_counter()
    metrics = test(arguments.config, result.checkpoint, work_dir=work_dir, cfg_options=options)
    seconds_test = time.perf_counter() - start

    config = load_config(arguments.config)
    figures = {
        'config': arguments.config,
        'epochs': result.epochs,
        'batch_size': config.train_dataloader.batch_size,
        'train': 'small_train.txt: 600 images of train.json',
        'evaluated': 'val.json: 287 images, last checkpoint',
        'seconds_train': training_seconds(work_dir),
        'commit_of_training': commit,
        'seconds_test': round(seconds_test, 1),
        **{
            f'{name}_person_car_bicycle': sum(metrics[f'dota/{name}_{c}'] for c in AVERAGED) / len(AVERAGED)
            for name in ('AP50', 'AP75', 'mAP')
        },
        'metrics': metrics,
    }
    print(write_record(f'hit_uav_{Path(arguments.config).stem}', figures))


if __name__ == '__main__':
    main()

"""Overfit the DOTA sample images and measure on the same images: reader, geometry, head and metric must agree.

This says that the parts fit together; it says nothing about unseen images.

Example: python benchmarks/dota_samples.py data/dota_samples
"""

import argparse
from pathlib import Path

from record import commit_of_training, training_seconds, write_record

from stn_det.apis import predict, test, train
from stn_det.apis.pretrained import fetch_mobilenetv2

CONFIG = 'oriented-point-le90_mobilenetv2_fpn_dota-samples'


def main() -> None:
    """Parses the command line, trains, tests, draws, writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder with images/ and labelTxt/')
    parser.add_argument('--config', default=CONFIG, help='shipped config (default: %(default)s)')
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/<config>')
    arguments = parser.parse_args()
    work_dir = arguments.work_dir or Path('work_dirs') / Path(arguments.config).stem
    root = f'{arguments.data.resolve()}/'
    options = {
        'train_dataloader.dataset.dataset.data_root': root,
        'val_dataloader.dataset.data_root': root,
        'test_dataloader.dataset.data_root': root,
        'model.backbone.init_cfg.checkpoint': str(fetch_mobilenetv2('checkpoints/mobilenet_v2.pth').resolve()),
    }
    commit = commit_of_training(work_dir)
    result = train(arguments.config, work_dir=work_dir, resume='auto', cfg_options=options)
    metrics = test(arguments.config, result.checkpoint, work_dir=work_dir, cfg_options=options)
    predict(arguments.config, result.checkpoint, [arguments.data / 'images'], out_dir=work_dir / 'pictures')
    figures = {
        'config': arguments.config,
        'epochs': result.epochs,
        'evaluated': 'the training images themselves, whole, last checkpoint',
        'seconds_train': training_seconds(work_dir),
        'commit_of_training': commit,
        'metrics': metrics,
    }
    print(write_record(f'dota_samples_{Path(arguments.config).stem}', figures))


if __name__ == '__main__':
    main()

"""``stn-det predict``: detect oriented objects in images."""

import argparse
import sys
from typing import Any

from .. import apis
from .options import add_command, add_config, add_device, add_overrides, logs_to_stderr


def register(commands: Any) -> None:
    """Add the command."""
    example = 'stn-det predict my_config.py work_dirs/first/epoch_12.pth images/ --out-dir found --score-thr 0.4'
    parser = add_command(commands, 'predict', 'detect oriented objects in images and folders', example)
    add_config(parser)
    parser.add_argument('checkpoint', help='the weights')
    parser.add_argument('inputs', nargs='+', metavar='input', help='image files and folders')
    parser.add_argument('--out-dir', default='predictions', help='folder for the results (default: predictions)')
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score to write (default: 0.3)')
    parser.add_argument('--classes', nargs='+', metavar='CLASS', help='write only these classes')
    parser.add_argument('--no-draw', action='store_true', help='write no pictures')
    parser.add_argument('--resume', action='store_true', help='skip images that have a result')
    add_overrides(parser)
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict, then print a summary; 1 when an image could not be used."""
    try:
        with logs_to_stderr():
            result = apis.predict(
                args.config,
                args.checkpoint,
                args.inputs,
                out_dir=args.out_dir,
                score_thr=args.score_thr,
                classes=args.classes,
                draw=not args.no_draw,
                resume=args.resume,
                cfg_options=args.cfg_options,
                allow_new=args.allow_new,
                device=args.device,
            )
    except KeyboardInterrupt:
        print('\ninterrupted: finished images are kept; the same command with --resume goes on.', file=sys.stderr)
        return 1
    skipped = f', {len(result.skipped)} skipped' if result.skipped else ''
    print(f'{result.detections} objects in {len(result.done)} images{skipped}; results in {result.out_dir}')
    for path, reason in result.failed.items():
        print(f'failed: {path}: {reason}', file=sys.stderr)
    return 1 if result.failed else 0

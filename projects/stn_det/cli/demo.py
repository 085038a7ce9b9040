"""``stn-det demo``: the whole way from no data to measured detections."""

import argparse
import sys
from typing import Any

from .. import apis
from .options import add_command, add_device, logs_to_stderr


def register(commands: Any) -> None:
    """Add the command."""
    summary = 'make scenes, train a small detector on them, evaluate it and draw what it finds'
    parser = add_command(commands, 'demo', summary, 'stn-det demo --quick')
    parser.add_argument(
        '--work-dir', help='folder for everything (default: work_dirs/demo, with --quick work_dirs/demo-quick)'
    )
    parser.add_argument(
        '--quick', action='store_true', help='a few scenes and epochs: shows the steps, not the quality'
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of scenes and training (default: 0)')
    parser.add_argument(
        '--images',
        type=int,
        help='number of training scenes, with a quarter as many for validation (default: 400 and 80; quick 16 and 6)',
    )
    parser.add_argument('--epochs', type=int, help='number of epochs (default: 8; quick 6)')
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo, then print the results and what to try next."""
    try:
        with logs_to_stderr():
            result = apis.run_demo(
                args.work_dir,
                quick=args.quick,
                seed=args.seed,
                images=args.images,
                epochs=args.epochs,
                device=args.device,
            )
    except KeyboardInterrupt:
        print('\ninterrupted: finished steps are kept; the same command goes on where it stopped.', file=sys.stderr)
        return 1
    print(result.table())
    print(result.next_steps())
    return 0

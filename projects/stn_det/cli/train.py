"""``stn-det train``: train a detector."""

import argparse
import sys
from typing import Any

from .. import apis
from .options import (
    add_command,
    add_config,
    add_device,
    add_launcher,
    add_overrides,
    enter_launcher,
    logs_to_stderr,
    metric_table,
    print_result,
)


def register(commands: Any) -> None:
    """Add the command."""
    example = 'stn-det train my_config.py --work-dir work_dirs/first --cfg-options train_dataloader.batch_size=8'
    parser = add_command(commands, 'train', 'train a detector', example)
    add_config(parser)
    parser.add_argument('--work-dir', help='folder for checkpoints and logs (default: work_dirs/<config name>)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from this checkpoint, or from the newest in the work directory',
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate by the batch size')
    add_overrides(parser)
    add_device(parser)
    add_launcher(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, then print where the checkpoint is and the last validation's metrics."""
    enter_launcher(args)
    try:
        with logs_to_stderr():
            result = apis.train(
                args.config,
                work_dir=args.work_dir,
                resume=args.resume or False,
                amp=args.amp,
                auto_scale_lr=args.auto_scale_lr,
                cfg_options=args.cfg_options,
                allow_new=args.allow_new,
                device=args.device,
                launcher=args.launcher,
            )
    except KeyboardInterrupt:
        print('\ninterrupted: finished epochs are kept; the same command with --resume goes on.', file=sys.stderr)
        return 1
    print_result(f'checkpoint  {result.checkpoint}')
    if result.metrics:
        print_result(metric_table(result.metrics))
    return 0

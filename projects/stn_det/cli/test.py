"""``stn-det test``: evaluate a checkpoint."""

import argparse
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
    example = 'stn-det test my_config.py work_dirs/first/epoch_12.pth --out metrics.json --show-dir drawn'
    parser = add_command(commands, 'test', 'evaluate a checkpoint on the test set of a config', example)
    add_config(parser)
    parser.add_argument('checkpoint', help='the weights')
    parser.add_argument('--work-dir', help='folder for the log (default: work_dirs/<config name>)')
    parser.add_argument('--out', help='*.json receives the metrics, *.pkl the predictions')
    parser.add_argument('--show', action='store_true', help='open a window for each image')
    parser.add_argument('--show-dir', help='folder for images with predictions and truth drawn')
    parser.add_argument('--wait-time', type=float, default=2.0, help='seconds between windows')
    parser.add_argument('--tta', action='store_true', help="use the config's test-time augmentation")
    add_overrides(parser)
    add_device(parser)
    add_launcher(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, then print the metrics."""
    enter_launcher(args)
    with logs_to_stderr():
        metrics = apis.test(
            args.config,
            args.checkpoint,
            work_dir=args.work_dir,
            out=args.out,
            show=args.show,
            show_dir=args.show_dir,
            wait_time=args.wait_time,
            tta=args.tta,
            cfg_options=args.cfg_options,
            allow_new=args.allow_new,
            device=args.device,
            launcher=args.launcher,
        )
    print_result(metric_table(metrics))
    return 0

"""Options that several commands share, and what keeps results and logs apart."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

CONFIG_HELP = 'a config file, package::path, or the bare name of a shipped config'


def add_command(commands: Any, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    """A command's parser, with its summary and an example below the options."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + '.',
        epilog=f'example:\n  {example}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    """The config argument."""
    parser.add_argument('config', help=CONFIG_HELP)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """``--cfg-options`` and ``--allow-new``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='override values of the config, for example train_dataloader.batch_size=8 or '
        '"train_dataloader.dataset.pipeline.3.scale=(640,640)"',
    )
    parser.add_argument('--allow-new', action='store_true', help='let --cfg-options add keys that the config lacks')


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``."""
    parser.add_argument('--device', help="'cpu', 'cuda' or 'cuda:1'; by default the first GPU, else the CPU")


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """``--launcher`` and the ``--local-rank`` that torch's launcher passes."""
    launchers = ('none', 'pytorch', 'slurm', 'mpi')
    parser.add_argument('--launcher', choices=launchers, default='none', help='job launcher of a distributed run')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def enter_launcher(args: argparse.Namespace) -> None:
    """Pass the rank that torch's older launcher gives as an option on to where mmengine looks for it."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))


def print_result(text: str) -> None:
    """Print to stdout, once in a distributed run."""
    if os.environ.get('RANK', '0') == '0':
        print(text)


@contextlib.contextmanager
def logs_to_stderr() -> Iterator[None]:
    """Send what libraries log or print to stderr, so that stdout holds results only."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def metric_table(metrics: dict[str, float]) -> str:
    """Metrics as two aligned columns."""
    width = max((len(name) for name in metrics), default=0)
    return '\n'.join(f'{name:<{width}}  {value:.4f}' for name, value in metrics.items())

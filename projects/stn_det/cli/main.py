"""Entry point of ``stn-det``: 0 on success, 1 on failure, 2 on wrong usage."""

import argparse
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from ..apis.suggest import did_you_mean
from ..errors import StnDetError
from . import demo, doctor, predict, test, train

COMMANDS = {'demo': demo, 'doctor': doctor, 'train': train, 'test': test, 'predict': predict}
OPENMMLAB = ('mmengine', 'mmcv', 'mmdet')


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints about names end in the name that was meant."""

    def error(self, message: str) -> NoReturn:
        """Print the complaint and leave with code 2."""
        _, _, rest = message.partition('unrecognized arguments: ')
        wrong = rest.split()[0].split('=')[0] if rest else ''
        known = [option for action in self._actions for option in action.option_strings]
        hint = did_you_mean(wrong, known) if wrong.startswith('-') else ''
        self.exit(2, f'error: {message}.{hint}\nSee {self.prog} --help\n')


def build_parser() -> Parser:
    """Parser of all commands."""
    parser = Parser(
        prog='stn-det',
        description='Oriented object detection in overhead imagery.',
        epilog='example:\n  stn-det demo --quick',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('--version', action='version', version=f'stn-det {__version__}')
    commands = parser.add_subparsers(dest='command', metavar='command', parser_class=Parser)
    for module in COMMANDS.values():
        module.register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        0 on success, 1 on failure. Wrong usage leaves through SystemExit with code 2.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    if not arguments:
        parser.print_help()
        return 2
    args = _parse(parser, arguments)
    try:
        return int(args.run(args))
    except (StnDetError, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or '').split('.')[0] not in OPENMMLAB:
            raise
        if args.debug:
            traceback.print_exc()
        remedy = (
            '' if isinstance(error, StnDetError) else ' Install it with pip install "stn-det[mm]"; see stn-det doctor.'
        )
        print(f'error: {error}{remedy}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\ninterrupted', file=sys.stderr)
        return 1


def _parse(parser: Parser, arguments: list[str]) -> argparse.Namespace:
    """Parse, with the command looked up first so that its parser reports what it does not know."""
    command = next((word for word in arguments if not word.startswith('-')), None)
    if command is not None and command not in COMMANDS:
        hint = did_you_mean(command, COMMANDS) or f' The commands are {", ".join(COMMANDS)}.'
        parser.exit(2, f'error: unknown command {command!r}.{hint}\n')
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        chosen = parser if command is None else _subparser(parser, command)
        chosen.error(f'unrecognized arguments: {" ".join(unknown)}')
    return args


def _subparser(parser: Parser, command: str) -> Parser:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found: Parser = action.choices[command]
            return found
    return parser

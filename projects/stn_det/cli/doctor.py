"""``stn-det doctor``: what is installed, whether it fits together, what to do where it does not."""

import argparse
import json
from typing import Any

from .. import apis
from .options import add_command

SIGNS = {'ok': 'ok  ', 'note': 'note', 'fail': 'FAIL'}


def register(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, 'doctor', 'check the installation and name remedies', 'stn-det doctor')
    parser.add_argument('--json', action='store_true', help='print the report as JSON')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; 1 when something needed is missing."""
    report = apis.doctor()
    if args.json:
        print(json.dumps(report.to_dict(), indent=2))
        return 0 if report.ok else 1
    width = max(len(check.name) for check in report.checks)
    for check in report.checks:
        remedy = f'  ->  {check.remedy}' if check.remedy else ''
        print(f'{SIGNS[check.status]}  {check.name:<{width}}  {check.detail}{remedy}')
    print('\nAll that is needed is here.' if report.ok else '\nSomething needed is missing: see the lines marked FAIL.')
    return 0 if report.ok else 1

"""Compiles the operators for the CPU: ``python -m stn_det.ops.build``."""

import argparse
import sys
from pathlib import Path

from stn_det.ops._build import BuildError, compile_library


def main() -> int:
    """Compile from the command line."""
    parser = argparse.ArgumentParser(
        description='Compile the operators of stn_det for the CPU. Takes a C++ compiler and seconds.'
    )
    parser.add_argument('--out-dir', type=Path, help='folder of the library (default: inside the package)')
    parser.add_argument('-v', '--verbose', action='store_true', help='print the commands')
    arguments = parser.parse_args()
    try:
        print(compile_library(arguments.out_dir, arguments.verbose))
    except BuildError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())

"""Compiles the operators: ``python -m stn_det.ops.build``, for the CPU, and with ``--cuda`` for CUDA too."""

import argparse
import sys
from pathlib import Path

from stn_det.ops._build import CUDA_ARCHITECTURES, BuildError, compile_cuda_library, compile_library


def main() -> int:
    """Compile from the command line."""
    parser = argparse.ArgumentParser(
        description='Compile the operators of stn_det. For the CPU takes a C++ compiler and about a minute, for CUDA '
        'nvcc and minutes; neither a GPU nor a PyTorch with CUDA.'
    )
    parser.add_argument('--cuda', action='store_true', help='compile them for CUDA as well')
    parser.add_argument(
        '--cuda-archs',
        metavar='"X.Y ..."',
        help='compute capabilities to compile for, which implies --cuda (default: those in STN_DET_CUDA_ARCHS, or '
        f'"{" ".join(CUDA_ARCHITECTURES)}"); one takes a sixth of the time',
    )
    parser.add_argument('--no-cpu', action='store_true', help='leave the library for the CPU as it is')
    parser.add_argument('--out-dir', type=Path, help='folder of the libraries (default: inside the package)')
    parser.add_argument('-v', '--verbose', action='store_true', help='print the commands')
    arguments = parser.parse_args()
    try:
        if not arguments.no_cpu:
            print(compile_library(arguments.out_dir, arguments.verbose))
        if arguments.cuda or arguments.cuda_archs:
            wanted = (arguments.cuda_archs or '').replace(';', ' ').replace(',', ' ').split()
            print(compile_cuda_library(arguments.out_dir, arguments.verbose, wanted))
    except BuildError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())

"""Fails unless the installed package is the wheel's, and its compiled operators run under this PyTorch.

Usage: python .ci/check_compiled.py
"""

import sys
from pathlib import Path

import torch

import stn_det
from stn_det.ops import status
from stn_det.ops._library import library_report


def main() -> int:
    """Say what runs where; 0 when every operator is compiled."""
    package = Path(stn_det.__file__).parent
    where, remedy = library_report()
    devices = {'cpu', 'cuda'} if any((package / 'ops' / 'lib').glob('libstn_det_cuda-*.so')) else {'cpu'}
    plain = sorted(name for name, kind in status().items() if set(kind.split('+')) != devices)
    print(f'torch {torch.__version__}, stn_det from {package.parent.name}, operators from {Path(where).name} {remedy}')
    print(f'for CUDA from {Path(library_report("cuda")[0]).name}')
    if 'site-packages' not in package.parts:
        print('stn_det is not the installed one', file=sys.stderr)
        return 1
    if plain:
        print(f'not compiled for {" and ".join(sorted(devices))}: {", ".join(plain)}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())

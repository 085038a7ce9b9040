"""Sums in memory and reads of the second-level cache on a GPU, by ``micro/throughput.cu``.

    python benchmarks/gpu_micro.py [--arch native] [--compile-only]

Compiles the program with nvcc, runs it, prints what it measured and writes it to
``benchmarks/results/gpu_micro_<device>.json``.
``--compile-only`` needs no GPU but an architecture, such as ``--arch sm_90``.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import write_record

SOURCE = Path(__file__).resolve().parent / 'micro' / 'throughput.cu'


def compile_program(architecture: str, program: Path) -> None:
    """Compile for ``'native'``, the GPUs of this machine, or a name such as ``'sm_90'``.

    Raises:
        RuntimeError: without nvcc, or with what it says.
    """
    nvcc = shutil.which('nvcc')
    if nvcc is None:
        raise RuntimeError('nvcc is not on the PATH')
    command = [nvcc, '-std=c++17', '-O3', f'-arch={architecture}', str(SOURCE), '-o', str(program)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr)


def figures(output: str) -> dict[str, Any]:
    """What the program printed, one JSON object a line, by test."""
    lines = [json.loads(line) for line in output.splitlines()]
    found: dict[str, Any] = {'sums': [], 'reads': []}
    for line in lines:
        test = line.pop('test')
        if test in ('device', 'clock'):
            found[test] = line
        else:
            found[test].append(line)
    return found


def main() -> int:
    """Compile, run, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', default='native', help='as for nvcc -arch (default: of the GPUs of this machine)')
    parser.add_argument('--compile-only', action='store_true', help='do not run it')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / 'throughput'
        try:
            compile_program(arguments.arch, program)
        except RuntimeError as error:
            print(f'error: {error}', file=sys.stderr)
            return 1
        if arguments.compile_only:
            print(f'{SOURCE.name} compiles for {arguments.arch}')
            return 0
        run = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    print(run.stdout + run.stderr, end='')
    if run.returncode:
        return run.returncode
    found = figures(run.stdout)
    name = found['device']['name'].lower().replace('nvidia ', '').replace(' ', '_')
    print(write_record(f'gpu_micro_{name}', found))
    return 0


if __name__ == '__main__':
    sys.exit(main())

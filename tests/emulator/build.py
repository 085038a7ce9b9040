"""Compiles the kernels of CUDA for the CPU: ``python tests/emulator/build.py OUT.so``.

The library registers them for tensors on the CPU, so that with ``STN_DET_OPS=OUT.so`` every test of the compiled
operators runs on the lines that a GPU runs. Needs no nvcc. Objects are kept in the folder of the library and compiled
again when a source changes.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stn_det.ops import _build

HERE = Path(__file__).resolve().parent
FLAGS = (
    '-std=c++20',
    '-g1',
    '-fPIC',
    '-fvisibility=hidden',
    '-fno-math-errno',
    '-Wall',
    '-Wno-unused-function',
    '-Wno-unknown-pragmas',
)
DEFINES = ('-DSTN_DET_CUDA', '-DSTN_DET_EMULATED', '-DSTN_DET_ISA=cuda')


def sources() -> list[Path]:
    """The kernels of CUDA and the entry points."""
    return [*sorted((_build.SOURCES / 'cuda').glob('*.cu')), *sorted((_build.SOURCES / 'entry').glob('*.cpp'))]


def main() -> int:
    """Compile from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, help='the library')
    parser.add_argument('--only', nargs='*', help='names of operators (entry/NAME.cpp and cuda/NAME*.cu); default all')
    parser.add_argument('--flags', nargs='*', default=['-O2', '-mfma', '-mavx2', '-mf16c'], help='of the compiler')
    parser.add_argument('--sanitize', action='store_true', help='check memory and what is undefined')
    arguments = parser.parse_args()
    extra = [flag.replace('~', '-') for flag in arguments.flags]
    if arguments.sanitize:
        # Fibers change stacks behind the sanitizer's back: it watches the heap, where tensors lie, and shared memory.
        # What is undefined, such as a pack at an odd address, which a CPU would load, is found on stacks too.
        undefined = 'undefined,float-cast-overflow'
        extra += [f'-fsanitize=address,{undefined}', f'-fno-sanitize-recover={undefined}', '-fno-sanitize=vptr']
        extra += ['--param=asan-stack=0', '-fno-omit-frame-pointer']
    wanted = [s for s in sources() if not arguments.only or any(s.stem.startswith(name) for name in arguments.only)]
    objects = arguments.out.parent / f'{arguments.out.stem}-objects'
    objects.mkdir(parents=True, exist_ok=True)
    compiler, torch = _build._compiler(), _build._torch_folder()
    headers = hashlib.sha256()
    for path in sorted([*_build.SOURCES.rglob('*.h'), *HERE.glob('*.h')]):
        headers.update(path.read_bytes())
    headers.update(' '.join(extra).encode())

    def compile_one(source: Path) -> str:
        digest = headers.copy()
        digest.update(source.read_bytes())
        out = objects / f'{source.name}-{digest.hexdigest()[:12]}.o'
        if not out.is_file():
            for old in objects.glob(f'{source.name}-*.o'):
                old.unlink()
            includes = ['-I', str(HERE), '-isystem', str(torch / 'include')]
            command = [compiler, *FLAGS, _build.TARGET, *DEFINES, *extra, *includes, '-x', 'c++', '-c', str(source)]
            subprocess.run([*command, '-o', f'{out}.tmp'], check=True)
            os.replace(f'{out}.tmp', out)
        return str(out)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        built = list(pool.map(compile_one, wanted))
    link = [compiler, '-shared', *extra, *built, '-L', str(torch / 'lib'), '-ltorch_cpu', '-o', f'{arguments.out}.tmp']
    subprocess.run(link, check=True)
    os.replace(f'{arguments.out}.tmp', arguments.out)
    print(arguments.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())

"""Compiles the operators; :mod:`stn_det.ops.build` is the command.

The library for the CPU needs g++ or clang++ and the headers that come with PyTorch, nothing else. The one for CUDA
needs nvcc too, but neither a GPU nor a PyTorch with CUDA. Both keep to LibTorch's stable ABI, so one build serves every
Python and every PyTorch from 2.10 on. A file name carries a digest of the sources and of the flags of the compilers: a
library that was built from others is never loaded.
"""

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
SOURCES = PACKAGE / 'csrc'
PACKAGED = PACKAGE / 'lib'

TARGET = '-DTORCH_TARGET_VERSION=0x020a000000000000'  # PyTorch 2.10
FLAGS = (
    '-std=c++20',
    '-O3',
    '-fPIC',
    '-fvisibility=hidden',
    '-fno-math-errno',
    '-Wall',
    '-Wextra',
    '-Wno-psabi',
    TARGET,
)
LINK_FLAGS = ('-shared', '-Wl,--as-needed', '-Wl,-s')
# Files named *_kernel.cpp are compiled once for each of these; which one runs is decided on the machine that runs it.
INSTRUCTION_SETS = {'baseline': (), 'avx2': ('-mavx2', '-mfma', '-mf16c')}


class BuildError(Exception):
    """The operators could not be compiled; the message says what to do."""


# Compute capabilities that get machine code; the last also gets PTX, which newer GPUs compile for themselves.
CUDA_ARCHITECTURES = ('8.0', '8.6', '8.9', '9.0', '10.0', '12.0')
CUDA_FLAGS = (
    '-std=c++20',
    '-O3',
    '--expt-relaxed-constexpr',
    '--compress-mode=size',
    '-Xcompiler=-fPIC,-fvisibility=hidden,-Wall',
    '-DSTN_DET_CUDA',
    '-DSTN_DET_ISA=cuda',
)
CUDA_ENTRY_FLAGS = ('-DSTN_DET_CUDA', '-DUSE_CUDA')
# With the runtime inside, the library does not ask for one of its own version.
CUDA_LINK_FLAGS = ('-shared', '-cudart', 'static', '-Xlinker=--no-as-needed', '-Xlinker=-s')


def library_name(device: str = 'cpu') -> str:
    """File name of the library for ``'cpu'`` or ``'cuda'`` that belongs to the sources beside this file.

    The architectures that one for CUDA was compiled for do not show in it.
    """
    cpu, cuda = (INSTRUCTION_SETS, LINK_FLAGS), (CUDA_FLAGS, CUDA_ENTRY_FLAGS, CUDA_LINK_FLAGS)
    digest = hashlib.sha256(repr((FLAGS, cpu if device == 'cpu' else cuda)).encode())
    for folder in ('common', device, 'entry'):
        for path in sorted((SOURCES / folder).glob('*')):
            if path.suffix in {'.h', '.cpp', '.cu'}:
                digest.update(path.relative_to(SOURCES).as_posix().encode())
                digest.update(path.read_bytes())
    return f'libstn_det_{device}-{digest.hexdigest()[:12]}.so'


def user_folder() -> Path:
    """Where a build goes when the package's own folder cannot be written."""
    cache = os.environ.get('XDG_CACHE_HOME') or str(Path.home() / '.cache')
    return Path(cache) / 'stn_det' / 'ops'


def compile_library(folder: Path | None = None, verbose: bool = False) -> Path:
    """Compile the operators for the CPU.

    Args:
        folder: where the library goes; None: the package's ``ops/lib``, or the user's cache if that cannot be written.
        verbose: print the commands.

    Returns:
        The library. Other builds in the same folder are removed.

    Raises:
        BuildError: when the machine, a compiler or PyTorch's headers are missing, or the compiler fails.
    """
    compiler, torch = _compiler(), _torch_folder()
    with tempfile.TemporaryDirectory() as scratch:
        units, commands = _units(), []
        for source, name, extra in units:
            includes = () if source.stem.endswith('_kernel') else ('-isystem', str(torch / 'include'))
            commands.append([compiler, *FLAGS, *extra, *includes, '-c', str(source), '-o', f'{scratch}/{name}.o'])
        _run_all(commands, verbose)
        objects = [f'{scratch}/{name}.o' for name in _in_link_order([name for _, name, _ in units])]
        libraries = ('-L', str(torch / 'lib'), '-ltorch_cpu')
        return _link([compiler, *objects, *libraries, *LINK_FLAGS], 'cpu', folder, verbose)


def compile_cuda_library(
    folder: Path | None = None, verbose: bool = False, architectures: Sequence[str] | None = None
) -> Path:
    """Compile the operators for CUDA. Takes minutes: every kernel is compiled for every architecture.

    Args:
        folder: where the library goes, as in :func:`compile_library`.
        verbose: print the commands.
        architectures: compute capabilities such as ``'9.0'``; None: those in the environment variable
            ``STN_DET_CUDA_ARCHS``, separated by spaces or semicolons, or else ``CUDA_ARCHITECTURES``.

    Returns:
        The library. Other builds in the same folder are removed.

    Raises:
        BuildError: when the machine, a compiler or PyTorch's headers are missing, or a compiler fails.
    """
    compiler, nvcc, torch = _compiler(), _nvcc(), _torch_folder()
    wanted = architectures or os.environ.get('STN_DET_CUDA_ARCHS', '').replace(';', ' ').split() or CUDA_ARCHITECTURES
    targets = _cuda_targets(wanted)
    with tempfile.TemporaryDirectory() as scratch:
        commands = []
        for source in sorted((SOURCES / 'cuda').glob('*.cu'), key=lambda path: -path.stat().st_size):
            commands.append([nvcc, *CUDA_FLAGS, *targets, '-c', str(source), '-o', f'{scratch}/{source.stem}.cu.o'])
        includes = ('-isystem', str(torch / 'include'))
        for source in sorted((SOURCES / 'entry').glob('*.cpp')):
            output = f'{scratch}/{source.stem}.o'
            commands.append([compiler, *FLAGS, *CUDA_ENTRY_FLAGS, *includes, '-c', str(source), '-o', output])
        _run_all(commands, verbose)
        # A PyTorch without CUDA lacks this library, whose functions are looked up when ours is loaded.
        stand_in = f'{scratch}/libtorch_cuda.so'
        _run([compiler, '-shared', '-x', 'c++', '/dev/null', '-o', stand_in, '-Wl,-soname,libtorch_cuda.so'], verbose)
        libraries = ('-L', scratch, '-L', str(torch / 'lib'), '-ltorch_cuda', '-ltorch_cpu')
        objects = sorted(str(path) for path in Path(scratch).glob('*.o'))
        return _link([nvcc, *targets[:1], *CUDA_LINK_FLAGS, *objects, *libraries], 'cuda', folder, verbose)


def _link(command: Sequence[str], device: str, folder: Path | None, verbose: bool) -> Path:
    """Link a library to its place and remove other builds of it there."""
    out = (folder or _writable_folder()) / library_name(device)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f'.{out.name}.{os.getpid()}.tmp')
    _run([*command, '-o', str(temporary)], verbose)
    os.replace(temporary, out)
    for other in out.parent.glob(f'libstn_det_{device}-*.so'):
        if other != out:
            other.unlink()
    return out


def _cuda_targets(architectures: Sequence[str]) -> list[str]:
    """Options of nvcc: machine code for each compute capability, and PTX for the last."""
    numbers = []
    for name in architectures:
        if not re.fullmatch(r'[0-9]+\.[0-9]', name):
            raise BuildError(f'CUDA architecture {name!r}, expected a compute capability such as 9.0')
        numbers.append(int(name.replace('.', '')))
    if min(numbers) < 80:
        raise BuildError(f'CUDA architectures {" ".join(architectures)}: 8.0 is the oldest that the kernels support')
    numbers.sort()
    targets = [f'-gencode=arch=compute_{number},code=sm_{number}' for number in numbers]
    return [*targets, f'-gencode=arch=compute_{numbers[-1]},code=compute_{numbers[-1]}']


def _units() -> list[tuple[Path, str, tuple[str, ...]]]:
    """Source, name of its object and extra flags of everything that is compiled."""
    units: list[tuple[Path, str, tuple[str, ...]]] = []
    # The longest first, so that no processor ends up waiting for one large file.
    sources = [*(SOURCES / 'cpu').glob('*.cpp'), *(SOURCES / 'entry').glob('*.cpp')]
    for source in sorted(sources, key=lambda path: -path.stat().st_size):
        if not source.stem.endswith('_kernel'):
            units.append((source, source.stem, ()))
            continue
        for isa, flags in INSTRUCTION_SETS.items():
            units.append((source, f'{source.stem}_{isa}', (f'-DSTN_DET_ISA={isa}', *flags)))
    return units


def _in_link_order(names: Sequence[str]) -> list[str]:
    """Names of objects with those for special processors last.

    Of a function of the standard library that several objects hold, the linker keeps the first: it has to be one that
    every processor runs.
    """
    return sorted(
        names, key=lambda name: name.endswith(tuple(f'_{isa}' for isa, flags in INSTRUCTION_SETS.items() if flags))
    )


def _compiler() -> str:
    if platform.machine() != 'x86_64' or sys.platform != 'linux':
        raise BuildError(f'the operators compile on Linux x86_64, this is {sys.platform} {platform.machine()}')
    for name in (os.environ.get('CXX'), 'g++', 'clang++'):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise BuildError('no C++ compiler found; install g++ (Debian, Ubuntu: apt install g++) or set CXX')


def _nvcc() -> str:
    home = os.environ.get('CUDA_HOME') or os.environ.get('CUDA_PATH')
    for name in (os.environ.get('NVCC'), f'{home}/bin/nvcc' if home else None, 'nvcc', '/usr/local/cuda/bin/nvcc'):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise BuildError('no nvcc found; install the CUDA toolkit, 12.8 or newer, or set NVCC or CUDA_HOME')


def _torch_folder() -> Path:
    spec = importlib.util.find_spec('torch')
    if spec is None or spec.origin is None:
        raise BuildError('PyTorch is not installed here, and its headers are needed; pip install torch')
    folder = Path(spec.origin).parent
    if not (folder / 'include' / 'torch' / 'csrc' / 'stable' / 'library.h').is_file():
        raise BuildError(f'{folder} holds no headers of the stable ABI; PyTorch 2.10 or newer is needed')
    return folder


def _writable_folder() -> Path:
    try:
        PACKAGED.mkdir(exist_ok=True)
        probe = PACKAGED / f'.probe.{os.getpid()}'
        probe.touch()
        probe.unlink()
    except OSError:
        return user_folder()
    return PACKAGED


def _run_all(commands: Sequence[Sequence[str]], verbose: bool) -> None:
    """Run independent commands, as many at a time as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda command: _run(command, verbose), commands))


def _run(command: Sequence[str], verbose: bool) -> None:
    if verbose:
        print(' '.join(command))
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(f'{" ".join(command)}\nfailed with exit code {done.returncode}:\n{done.stderr[-4000:]}')
    if verbose and done.stderr:
        print(done.stderr)

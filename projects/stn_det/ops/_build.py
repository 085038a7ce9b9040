"""Compiles the operators; :mod:`stn_det.ops.build` is the command.

Needs g++ or clang++ and the headers that come with PyTorch, nothing else, and takes seconds. The library keeps to
LibTorch's stable ABI, so one build serves every Python and every PyTorch from 2.10 on. Its file name carries a digest
of the sources: a library that was built from other sources is never loaded.
"""

import hashlib
import importlib.util
import os
import platform
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
# Files named *_kernel.cpp are compiled once for each of these; which one runs is decided on the machine that runs it.
INSTRUCTION_SETS = {'baseline': (), 'avx2': ('-mavx2', '-mfma', '-mf16c')}


class BuildError(Exception):
    """The operators could not be compiled; the message says what to do."""


def library_name() -> str:
    """File name of the library that belongs to the sources beside this file."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob('*')):
        if path.suffix in {'.h', '.cpp'}:
            digest.update(path.relative_to(SOURCES).as_posix().encode())
            digest.update(path.read_bytes())
    return f'libstn_det_cpu-{digest.hexdigest()[:12]}.so'


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
    if platform.machine() != 'x86_64' or sys.platform != 'linux':
        raise BuildError(f'the operators compile on Linux x86_64, this is {sys.platform} {platform.machine()}')
    compiler, torch = _compiler(), _torch_folder()
    out = (folder or _writable_folder()) / library_name()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        units, commands = _units(), []
        for source, name, extra in units:
            includes = () if source.stem.endswith('_kernel') else ('-isystem', str(torch / 'include'))
            commands.append([compiler, *FLAGS, *extra, *includes, '-c', str(source), '-o', f'{scratch}/{name}.o'])
        list(pool.map(lambda command: _run(command, verbose), commands))
        objects = [f'{scratch}/{name}.o' for name in _in_link_order([name for _, name, _ in units])]
        temporary = out.with_name(f'.{out.name}.{os.getpid()}.tmp')
        libraries = ('-L', str(torch / 'lib'), '-ltorch_cpu')
        _run([compiler, '-shared', '-o', str(temporary), *objects, *libraries, '-Wl,--as-needed', '-Wl,-s'], verbose)
    os.replace(temporary, out)
    for other in out.parent.glob('libstn_det_cpu-*.so'):
        if other != out:
            other.unlink()
    return out


def _units() -> list[tuple[Path, str, tuple[str, ...]]]:
    """Source, name of its object and extra flags of everything that is compiled."""
    units: list[tuple[Path, str, tuple[str, ...]]] = []
    # The longest first, so that no processor ends up waiting for one large file.
    for source in sorted((SOURCES / 'cpu').glob('*.cpp'), key=lambda path: -path.stat().st_size):
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
    for name in (os.environ.get('CXX'), 'g++', 'clang++'):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise BuildError('no C++ compiler found; install g++ (Debian, Ubuntu: apt install g++) or set CXX')


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


def _run(command: Sequence[str], verbose: bool) -> None:
    if verbose:
        print(' '.join(command))
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(f'{" ".join(command)}\nfailed with exit code {done.returncode}:\n{done.stderr[-4000:]}')
    if verbose and done.stderr:
        print(done.stderr)

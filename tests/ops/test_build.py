"""How the operators are compiled."""

import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stn_det.ops import _build, build


def test_kernels_are_compiled_for_every_instruction_set_and_the_rest_once() -> None:
    units = _build._units()
    names = [name for _, name, _ in units]
    assert len(names) == len(set(names))
    for source in (_build.SOURCES / 'cpu').glob('*.cpp'):
        expected = len(_build.INSTRUCTION_SETS) if source.stem.endswith('_kernel') else 1
        assert sum(path == source for path, _, _ in units) == expected
    assert all(('-mavx2' in flags) == name.endswith('_avx2') for _, name, flags in units)


def test_what_every_processor_runs_is_linked_first() -> None:
    """The linker keeps the first copy of a function of the standard library, for all objects that use it."""
    ordered = _build._in_link_order(['a_kernel_avx2', 'a_kernel_baseline', 'b', 'c_kernel_avx2', 'c_kernel_baseline'])
    assert ordered == ['a_kernel_baseline', 'b', 'c_kernel_baseline', 'a_kernel_avx2', 'c_kernel_avx2']


def _reachable(path: Path) -> set[Path]:
    """A source and the headers of ours that it includes. Kernels of CUDA alone include the emulator, a test's."""
    found: set[Path] = set()
    waiting = {path}
    while waiting:
        found |= waiting
        lines = [(one.parent, line) for one in waiting for line in one.read_text().splitlines()]
        named = [(folder, line.split('"')[1]) for folder, line in lines if line.startswith('#include "')]
        waiting = {(folder / name).resolve() for folder, name in named if name != 'cuda_emulator.h'} - found
    return found


@pytest.mark.parametrize('pattern', ['cpu/*_kernel.cpp', 'cuda/*.cu'])
def test_kernels_include_no_header_of_torch(pattern: str) -> None:
    """Inline functions of torch would be compiled for a special processor and linked into all code."""
    kernels = list(_build.SOURCES.glob(pattern))
    assert kernels
    for kernel in kernels:
        for path in _reachable(kernel):
            assert '#include <torch' not in path.read_text(), f'{kernel.name} includes torch through {path.name}'


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_classes_of_headers_have_names_of_their_own(device: str) -> None:
    """Two classes of one name in one namespace would share their inline functions, whichever the linker finds first."""
    found: dict[str, set[str]] = {}
    for folder in (device, 'common', 'entry'):
        for path in (_build.SOURCES / folder).glob('*.h'):
            for name in re.findall(r'^(?:struct|class) (?:alignas\(.*?\) )?(\w+)', path.read_text(), re.MULTILINE):
                found.setdefault(name, set()).add(path.name)
    shared = {name: files for name, files in found.items() if len(files) > 1}
    assert found
    assert not shared


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_a_library_is_named_after_its_own_sources(device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ('common', 'cpu', 'cuda', 'entry'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'a.h').write_text('')
    monkeypatch.setattr(_build, 'SOURCES', tmp_path)
    names = [_build.library_name(device)]
    for folder in ('common', 'cpu', 'cuda', 'entry'):
        (tmp_path / folder / 'a.h').write_text('//')
        names.append(_build.library_name(device))
    changed = [later != earlier for earlier, later in itertools.pairwise(names)]
    assert changed == [True, device == 'cpu', device == 'cuda', True]


@pytest.mark.parametrize(
    ('flags', 'devices'),
    [
        ('FLAGS', {'cpu', 'cuda'}),
        ('INSTRUCTION_SETS', {'cpu'}),
        ('LINK_FLAGS', {'cpu'}),
        ('CUDA_FLAGS', {'cuda'}),
        ('CUDA_ENTRY_FLAGS', {'cuda'}),
        ('CUDA_LINK_FLAGS', {'cuda'}),
        ('CUDA_ARCHITECTURES', set()),
    ],
)
def test_a_library_is_named_after_the_flags_of_its_compilers(monkeypatch, flags, devices) -> None:
    before = {device: _build.library_name(device) for device in ('cpu', 'cuda')}
    former = getattr(_build, flags)
    monkeypatch.setattr(_build, flags, {**former, 'avx512': ()} if isinstance(former, dict) else (*former, '-g'))
    assert {device for device in before if _build.library_name(device) != before[device]} == devices


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """What would be run to compile both libraries into a folder."""
    seen: list[list[str]] = []

    def run(command: list[str], verbose: bool) -> None:
        seen.append(list(command))
        Path(command[command.index('-o') + 1]).touch()

    monkeypatch.setattr(_build, '_run', run)
    monkeypatch.setattr(_build, '_nvcc', lambda: 'nvcc')
    _build.compile_library(tmp_path)
    _build.compile_cuda_library(tmp_path)
    return seen


def test_the_compilers_get_no_other_flags(commands: list[list[str]]) -> None:
    """Such as are not part of the name; those left say where things are."""
    named = {*_build.FLAGS, *_build.LINK_FLAGS, *_build.CUDA_FLAGS, *_build.CUDA_ENTRY_FLAGS, *_build.CUDA_LINK_FLAGS}
    named |= {flag for flags in _build.INSTRUCTION_SETS.values() for flag in flags}
    named |= {f'-DSTN_DET_ISA={isa}' for isa in _build.INSTRUCTION_SETS}
    libraries = [command for command in commands if any('libstn_det' in part for part in command)]
    assert len(libraries) == 2
    others = {part for command in commands for part in command if part.startswith('-')} - named
    stand_in = {'-x', '-Wl,-soname,libtorch_cuda.so'}
    assert {flag for flag in others if not flag.startswith('-gencode')} == stand_in | {
        '-c', '-o', '-isystem', '-L', '-ltorch_cpu', '-ltorch_cuda',
    }  # fmt: skip


@pytest.mark.skipif(shutil.which('make') is None, reason='no make')
@pytest.mark.parametrize(('target', 'stamp'), [('build', '.built'), ('build-cuda', '.built-cuda')])
def test_make_tries_again_after_a_build_that_failed_and_goes_on_without(repository, tmp_path, target, stamp) -> None:
    python, calls, works = tmp_path / 'bin' / 'python', tmp_path / 'calls', tmp_path / 'works'
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho "$@" >> {calls}\ntest -f {works}\n')
    python.chmod(0o755)
    (tmp_path / '.installed').touch()
    variables = [f'VENV={tmp_path}', f'OPERATORS={tmp_path}/.built', f'CUDA_OPERATORS={tmp_path}/.built-cuda']
    for done, expected in ((False, 1), (False, 2), (True, 3), (True, 3)):
        if done:
            works.touch()
        subprocess.run(['make', '-C', str(repository), target, *variables], check=True, capture_output=True)
        assert len(calls.read_text().splitlines()) == expected
        assert (tmp_path / stamp).exists() == done


def test_a_compiler_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CXX', raising=False)
    with pytest.raises(_build.BuildError, match=r'no C\+\+ compiler found; install g\+\+'):
        _build.compile_library(tmp_path)


def test_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_build.platform, 'machine', lambda: 'aarch64')
    with pytest.raises(_build.BuildError, match='compile on Linux x86_64, this is linux aarch64'):
        _build.compile_library(tmp_path)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Replace the compilation; what was to be compiled, as device, folder and architectures."""
    seen: list[tuple] = []

    def cpu(folder: Path | None, verbose: bool) -> Path:
        seen.append(('cpu', folder))
        return Path('cpu.so')

    def cuda(folder: Path | None, verbose: bool, architectures: list[str]) -> Path:
        seen.append(('cuda', folder, architectures))
        _build._cuda_targets(architectures or _build.CUDA_ARCHITECTURES)
        return Path('cuda.so')

    monkeypatch.setattr(build, 'compile_library', cpu)
    monkeypatch.setattr(build, 'compile_cuda_library', cuda)
    return seen


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ([], [('cpu', None)]),
        (['--cuda'], [('cpu', None), ('cuda', None, [])]),
        (['--cuda-archs', '8.0 9.0'], [('cpu', None), ('cuda', None, ['8.0', '9.0'])]),
        (['--cuda', '--cuda-archs', '8.0;9.0', '--out-dir', 'lib'],
         [('cpu', Path('lib')), ('cuda', Path('lib'), ['8.0', '9.0'])]),
    ],
)  # fmt: skip
def test_the_command_compiles_for_what_is_asked(monkeypatch, capsys, compiled, options, expected) -> None:
    monkeypatch.setattr(sys, 'argv', ['build', *options])
    assert build.main() == 0
    assert compiled == expected
    assert capsys.readouterr().out.split() == [f'{device}.so' for device, *_ in expected]


@pytest.mark.parametrize(
    ('architectures', 'message'),
    [('sm_90', "CUDA architecture 'sm_90', expected a compute capability such as 9.0"), ('7.5', '8.0 is the oldest')],
)
def test_a_wrong_architecture_is_named(monkeypatch, capsys, compiled, architectures, message) -> None:
    monkeypatch.setattr(sys, 'argv', ['build', '--cuda-archs', architectures])
    assert build.main() == 1
    assert message in capsys.readouterr().err


def test_the_last_architecture_is_also_kept_for_newer_gpus() -> None:
    assert _build._cuda_targets(['9.0', '8.0']) == [
        '-gencode=arch=compute_80,code=sm_80',
        '-gencode=arch=compute_90,code=sm_90',
        '-gencode=arch=compute_90,code=compute_90',
    ]


def test_a_missing_nvcc_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('NVCC', 'CUDA_HOME', 'CUDA_PATH'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_build.shutil, 'which', lambda name: None)
    with pytest.raises(_build.BuildError, match='no nvcc found; install the CUDA toolkit'):
        _build._nvcc()

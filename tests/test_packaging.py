"""The built wheel: what is in it, and that its configs work from where it is installed."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = ('projects', 'configs', 'tools')
FILES = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE', 'CITATION.cff', 'model-index.yml')
BUILD = 'import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))'


def build(kind: str, source: Path, target: Path, **environment: str) -> Path:
    """Run a hook of the build back end in ``source``; the file it made in ``target``."""
    target.mkdir(exist_ok=True)
    command = [sys.executable, '-c', BUILD, kind, str(target)]
    variables = {**os.environ, **environment}
    run = subprocess.run(command, cwd=source, env=variables, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return target / run.stdout.splitlines()[-1]


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that the build leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp('source')
    ignored = shutil.ignore_patterns('__pycache__', '*.egg-info', '.mim', 'lib')
    for name in SOURCES:
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    for name in FILES:
        shutil.copy2(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture(scope='module')
def wheel(source: Path) -> Path:
    """A wheel built from the sources."""
    return build('build_wheel', source, source / 'wheels')


def test_wheel_works_away_from_the_checkout(wheel: Path) -> None:
    command = [sys.executable, str(REPOSITORY / '.ci' / 'check_wheel.py'), str(wheel)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert 'configs load from' in run.stdout


def test_wheel_is_for_every_python_and_names_its_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        compiled = [name for name in archive.namelist() if name.endswith('.so')]
    if compiled:
        assert [name.rpartition('/')[0] for name in compiled] == ['stn_det/ops/lib']
        assert '-py3-none-manylinux_2_' in wheel.name
    else:
        assert shutil.which('g++') is None, 'there is a compiler, so the operators should have been compiled'
        assert wheel.name.endswith('-py3-none-any.whl')
    with zipfile.ZipFile(wheel) as archive:
        entry_points = next(name for name in archive.namelist() if name.endswith('entry_points.txt'))
        assert 'stn-det = stn_det.cli.main:main' in archive.read(entry_points).decode()


def test_source_archive_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    archive = build('build_sdist', source, tmp_path / 'sdist')
    shutil.unpack_archive(archive, tmp_path, filter='data')
    unpacked = tmp_path / archive.name.removesuffix('.tar.gz')
    again = build('build_wheel', unpacked, tmp_path / 'wheels')
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())


def test_without_a_compiler_the_wheel_is_whole_but_for_the_operators(source: Path, wheel: Path, tmp_path: Path) -> None:
    pure = build('build_wheel', source, tmp_path / 'wheels', PATH='/nowhere', CXX='')
    assert pure.name.endswith('-py3-none-any.whl')
    with zipfile.ZipFile(wheel) as full, zipfile.ZipFile(pure) as archive:
        lacking = set(full.namelist()) - set(archive.namelist())
    assert all(name.endswith('.so') for name in lacking)


def test_a_wheel_without_configs_is_refused(wheel: Path, tmp_path: Path) -> None:
    poor = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as full, zipfile.ZipFile(poor, 'w') as out:
        for name in full.namelist():
            if '.mim/configs' not in name:
                out.writestr(name, full.read(name))
    command = [sys.executable, str(REPOSITORY / '.ci' / 'check_wheel.py'), str(poor)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert 'lacks stn_det/.mim/configs' in run.stderr


def test_every_metafile_is_in_the_model_index() -> None:
    index = (REPOSITORY / 'model-index.yml').read_text(encoding='utf-8')
    for metafile in (REPOSITORY / 'configs').rglob('metafile.yml'):
        assert metafile.relative_to(REPOSITORY).as_posix() in index

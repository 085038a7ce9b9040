"""Compiles the operators and fills ``stn_det/.mim``; all metadata is in pyproject.toml.

mmengine and mim look for ``package::path`` configs in ``<package>/.mim/configs``. An editable install gets links, so
that an edited config is used at once; a wheel gets copies.

The operators are compiled into a wheel where PyTorch can be imported, that is with ``--no-build-isolation``. Where they
cannot be compiled the package is complete without them and runs in plain PyTorch; ``python -m stn_det.ops.build``
compiles them later. ``STN_DET_BUILD_OPS=0`` leaves them out. Those for CUDA take minutes: they come along when they
were built in the checkout before, or with ``STN_DET_BUILD_CUDA=1``.
"""

import os
import platform
import runpy
import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = ('configs', 'tools', 'model-index.yml')
IGNORED = shutil.ignore_patterns('__pycache__', '*.pyc')


def link_shipped(target: Path) -> None:
    """Fill ``target`` with relative links to what is shipped, replacing what stood there."""
    target.mkdir(parents=True, exist_ok=True)
    for name in SHIPPED:
        link = target / name
        if link.is_symlink() or link.is_file():
            link.unlink()
        elif link.is_dir():
            shutil.rmtree(link)
        link.symlink_to(os.path.relpath(ROOT / name, target))


def copy_shipped(target: Path) -> None:
    """Fill ``target`` with copies of what is shipped; an old copy goes first, so that no removed config survives."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=IGNORED)
        else:
            shutil.copy2(source, target / name)


def compile_operators(folder: Path) -> None:
    """Put the compiled operators into ``folder``, or say why there are none.

    A library that was built in the checkout from these sources is copied.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if os.environ.get('STN_DET_BUILD_OPS') == '0':
        return
    module = runpy.run_path(str(ROOT / 'projects' / 'stn_det' / 'ops' / '_build.py'))
    for device, compile_one, wanted in (
        ('cpu', module['compile_library'], True),
        ('cuda', module['compile_cuda_library'], os.environ.get('STN_DET_BUILD_CUDA') == '1'),
    ):
        built = module['PACKAGED'] / module['library_name'](device)
        if built.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(built, folder)
        elif wanted:
            try:
                compile_one(folder)
            except module['BuildError'] as error:
                print(f'stn-det is built without compiled operators for {device.upper()}: {error}', file=sys.stderr)


class BuildPackage(build_py):
    """``build_py`` that also fills ``stn_det/.mim`` and compiles the operators."""

    def run(self) -> None:
        """Build the Python files, then add links (editable install), or copies and operators (wheel)."""
        super().run()
        if self.editable_mode:
            link_shipped(ROOT / 'projects' / 'stn_det' / '.mim')
            return
        package = Path(self.build_lib) / 'stn_det'
        copy_shipped(package / '.mim')
        compile_operators(package / 'ops' / 'lib')


class Wheel(bdist_wheel):
    """``bdist_wheel`` that names the C library the operators need; one wheel serves every Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """``py3-none-any``, or ``py3-none-manylinux_..`` with compiled operators inside."""
        if not any((Path(self.bdist_dir) / 'stn_det' / 'ops' / 'lib').glob('*.so')):
            return 'py3', 'none', 'any'
        libc, version = platform.libc_ver()
        system = f'manylinux_{version.replace(".", "_")}' if libc == 'glibc' else 'linux'
        return 'py3', 'none', f'{system}_{platform.machine()}'


setup(cmdclass={'build_py': BuildPackage, 'bdist_wheel': Wheel})

"""Copies configs/, tools/ and model-index.yml into ``stn_det/.mim``; all metadata is in pyproject.toml.

mmengine and mim look for ``package::path`` configs in ``<package>/.mim/configs``. An editable install gets links, so
that an edited config is used at once; a wheel gets copies.
"""

import os
import shutil
from pathlib import Path

from setuptools import setup
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


class BuildWithConfigs(build_py):
    """``build_py`` that also fills ``stn_det/.mim``."""

    def run(self) -> None:
        """Build the Python files, then add links (editable install) or copies (wheel)."""
        super().run()
        if self.editable_mode:
            link_shipped(ROOT / 'projects' / 'stn_det' / '.mim')
        else:
            copy_shipped(Path(self.build_lib) / 'stn_det' / '.mim')


setup(cmdclass={'build_py': BuildWithConfigs})

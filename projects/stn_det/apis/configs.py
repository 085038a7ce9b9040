"""Finding and loading configs: by path, by ``package::path`` and by the bare name of a shipped one."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.utils import get_installed_path, is_installed

from .. import __file__ as _package_file
from ..errors import ConfigError
from ..registry import SCOPE
from .overrides import apply_options
from .suggest import did_you_mean


def config_root() -> Path:
    """Folder of the configs shipped with this package.

    Raises:
        ConfigError: when the installation holds none.
    """
    package = Path(_package_file).resolve().parent
    for folder in (package / '.mim' / 'configs', package.parents[1] / 'configs'):
        if folder.is_dir():
            return folder
    raise ConfigError(f'no configs beside {package}; install stn-det again with pip.')


def list_configs(root: Path | None = None) -> list[str]:
    """Paths of all complete configs below ``root``, relative to it; ``_base_`` parts are left out.

    Args:
        root: a configs folder; by default the shipped one.
    """
    root = config_root() if root is None else root
    found = (path.relative_to(root) for path in root.rglob('*.py'))
    return sorted(path.as_posix() for path in found if '_base_' not in path.parts and '__pycache__' not in path.parts)


def find_config(name: str | Path) -> Path:
    """File of a config given as a path, as ``package::path`` or as the bare name of a shipped one.

    Args:
        name: for example ``my/config.py``, ``stn_det::method/name.py``, ``mmdet::retinanet/...py`` or ``name``.

    Raises:
        ConfigError: when there is no such config, or a bare name fits several.
    """
    text = str(name)
    if '::' in text:
        return _in_package(text)
    path = Path(text)
    if path.is_file():
        return path
    root = config_root()
    shipped = list_configs(root)
    hits = [entry for entry in shipped if Path(entry).name in (text, f'{text}.py') or entry in (text, f'{text}.py')]
    if len(hits) == 1:
        return root / hits[0]
    if hits:
        raise ConfigError(f'config {text!r} fits several shipped ones: {", ".join(hits)}. Give one of these paths.')
    nearby = [entry.name for entry in path.parent.glob('*.py')] if path.parent.is_dir() else []
    hint = did_you_mean(path.name, nearby + [Path(entry).name for entry in shipped])
    raise ConfigError(f'config {text!r} is neither a file nor the name of a shipped config.{hint}')


def _in_package(text: str) -> Path:
    package, _, inner = text.partition('::')
    if package == SCOPE:
        root = config_root()
    elif package in MODULE2PACKAGE and is_installed(MODULE2PACKAGE[package]):
        root = Path(get_installed_path(MODULE2PACKAGE[package])) / '.mim' / 'configs'
    else:
        hint = did_you_mean(package, MODULE2PACKAGE)
        raise ConfigError(
            f'config {text!r} names package {package!r}, which is not installed or holds no configs.{hint}'
        )
    if (root / inner).is_file():
        return root / inner
    hint = did_you_mean(inner, list_configs(root))
    raise ConfigError(f'config {text!r} does not exist in package {package}.{hint}')


def load_config(
    config: str | Path | Config,
    cfg_options: Mapping[str, Any] | Sequence[str] | None = None,
    allow_new: bool = False,
) -> Config:
    """Load a config, import what it registers and apply overrides.

    Args:
        config: anything :func:`find_config` takes, or a loaded config, which is copied.
        cfg_options: overrides, as ``{'dotted.key': value}`` or as ``['dotted.key=value', ...]``.
        allow_new: let an override add a key that the config does not have.

    Raises:
        ConfigError: when the config cannot be found or read, or an override names a key that it does not have.
    """
    if isinstance(config, Config):
        cfg = deepcopy(config)
    else:
        path = find_config(config)
        try:
            cfg = Config.fromfile(path)
        except (OSError, ImportError, KeyError, ValueError, SyntaxError, AttributeError, NameError, TypeError) as error:
            raise ConfigError(f'config {path} cannot be loaded: {type(error).__name__}: {error}') from error
    apply_options(cfg, cfg_options or {}, allow_new)
    return cfg

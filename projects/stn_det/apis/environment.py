"""What is installed here, whether it fits together, and what to do where it does not.

Only the standard library is imported at the top: the report must come out where everything else is broken.
"""

import contextlib
import io
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any

from .. import __version__

OK, NOTE, FAIL = 'ok', 'note', 'fail'
INSTALL_MM = 'pip install "stn-det[mm]"'

# Distributions that provide each import name, the default family first.
DISTRIBUTIONS = {
    'mmengine': ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    'mmcv': ('onedl-mmcv', 'mmcv-lite', 'mmcv', 'mmcv-full'),
    'mmdet': ('onedl-mmdetection', 'onedl-mmdet', 'mmdet'),
}
EXTRAS = {'geo': ('rasterio', 'pyproj', 'shapely', 'pyogrio'), 'export': ('onnx', 'onnxruntime')}


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    status: str
    """'ok', 'note' (works without) or 'fail'."""
    detail: str
    remedy: str = ''


@dataclass(frozen=True)
class Report:
    """All lines of the report."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing that is needed is missing."""
        return all(check.status != FAIL for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {'stn_det': __version__, 'ok': self.ok, 'checks': [asdict(check) for check in self.checks]}


def doctor() -> Report:
    """Look at the installation; never raises, whatever is broken."""
    checks: list[Check] = []
    for name, remedy, probe in PROBES:
        with _quiet():
            try:
                checks.extend(probe())
            except Exception as error:  # a broken installation can raise anything at import
                text = str(error).strip().splitlines() or ['']
                checks.append(Check(name, FAIL, f'{type(error).__name__}: {text[0]}', remedy))
    return Report(tuple(checks))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what libraries print at import out of the report."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter('ignore')
        yield


def _python() -> Iterator[Check]:
    version = platform.python_version()
    status = OK if sys.version_info >= (3, 10) else FAIL
    yield Check('python', status, f'{version} on {platform.platform()}', '' if status == OK else 'use Python >= 3.10')


def _torch() -> Iterator[Check]:
    torch = import_module('torch')
    release = tuple(int(part) for part in torch.__version__.split('+')[0].split('.')[:2])
    status = OK if release >= (2, 10) else FAIL
    detail = f'{torch.__version__}, {torch.get_num_threads()} CPU threads, {torch.backends.cpu.get_cpu_capability()}'
    yield Check('torch', status, detail, '' if status == OK else 'pip install "torch>=2.10"')
    if torch.cuda.is_available():
        names = ', '.join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield Check('cuda', OK, f'CUDA {torch.version.cuda}: {names}')
    elif torch.version.cuda is None:
        yield Check('cuda', NOTE, 'this torch is a CPU build', 'for a GPU install a CUDA build of torch')
    else:
        yield Check('cuda', NOTE, f'torch is built for CUDA {torch.version.cuda} but sees no GPU', 'check nvidia-smi')


def _numpy() -> Iterator[Check]:
    version = import_module('numpy').__version__
    status = OK if int(version.split('.')[0]) >= 2 else FAIL
    yield Check('numpy', status, version, '' if status == OK else 'pip install "numpy>=2"')


def _openmmlab() -> Iterator[Check]:
    families = set()
    for module, candidates in DISTRIBUTIONS.items():
        found = {name: metadata.version(name) for name in candidates if _is_distribution(name)}
        families |= {name.startswith('onedl-') for name in found}
        detail = ', '.join(f'{name} {version}' for name, version in found.items())
        if not found:
            yield Check(module, FAIL, 'not installed', INSTALL_MM)
        elif len(found) > 1:
            surplus = ' '.join(list(found)[1:])
            yield Check(module, FAIL, f'{detail} overwrite each other', f'pip uninstall {surplus}, then {INSTALL_MM}')
        else:
            import_module(module)
            yield Check(module, OK, detail)
    if len(families) > 1:
        yield Check('openmmlab', NOTE, 'onedl and original packages are mixed, which is not tested', INSTALL_MM)
    if _is_distribution('mmengine') and find_spec('pkg_resources') is None:
        yield Check('setuptools', FAIL, 'mmengine 0.10 needs pkg_resources', 'pip install "setuptools<81"')


def _is_distribution(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _bridge() -> Iterator[Check]:
    status = import_module('stn_det.mmcv_bridge').status()
    yield Check('mmcv bridge', OK, f'{status.state}: {status.reason}')


def _operators() -> Iterator[Check]:
    kinds = [kind.split('+') for kind in import_module('stn_det.ops').status().values()]
    library = import_module('stn_det.ops._library')
    code = library.instruction_set()
    yield _compiled('operators', f'the CPU{f" ({code} code)" if code else ""}', 'cpu', kinds, library)
    if import_module('torch').version.cuda is not None:
        yield _compiled('operators on CUDA', 'CUDA', 'cuda', kinds, library)


def _compiled(name: str, target: str, device: str, kinds: list[list[str]], library: Any) -> Check:
    """How many operators are compiled for a device, from the devices of each."""
    count = sum(device in kind for kind in kinds)
    where, remedy = library.library_report(device)
    detail = f'{count} compiled for {target}, {len(kinds) - count} in plain PyTorch; {where}'
    return Check(name, NOTE if remedy else OK, detail, remedy)


def _registration() -> Iterator[Check]:
    import_module('stn_det.register')
    yield Check('registration', OK, 'stn_det.register imports')


def _configs() -> Iterator[Check]:
    configs = import_module('stn_det.apis.configs')
    names = configs.list_configs()
    status = OK if names else FAIL
    yield Check('configs', status, f'{len(names)} in {configs.config_root()}', '' if names else 'reinstall stn-det')


def _extras() -> Iterator[Check]:
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if find_spec(name) is None]
        if missing:
            yield Check(f'extra {extra}', NOTE, f'without {", ".join(missing)}', f'pip install "stn-det[{extra}]"')
        else:
            yield Check(f'extra {extra}', OK, ', '.join(modules))


def _folder() -> Iterator[Check]:
    here = os.getcwd()
    with tempfile.TemporaryFile(dir=here):
        yield Check('folder', OK, f'{here} can be written to')


PROBES: tuple[tuple[str, str, Callable[[], Iterator[Check]]], ...] = (
    ('python', '', _python),
    ('torch', 'pip install "torch>=2.10"', _torch),
    ('numpy', 'pip install "numpy>=2"', _numpy),
    ('openmmlab', INSTALL_MM, _openmmlab),
    ('mmcv bridge', INSTALL_MM, _bridge),
    ('operators', 'reinstall stn-det', _operators),
    ('registration', INSTALL_MM, _registration),
    ('configs', 'reinstall stn-det', _configs),
    ('extras', '', _extras),
    ('folder', 'change to a folder that you may write to', _folder),
)

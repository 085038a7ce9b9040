"""The import law of docs/design.md, read from the source files, and what importing the light rooms loads."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'projects' / 'stn_det'
ANY = ('',)

# room -> (rooms of ours it may import, outside packages it may import; a dotted name admits what is below it).
# The standard library is always allowed.
LAW: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    'errors': ((), ()),
    'checks': (('errors',), ('torch',)),
    'ops': (('errors', 'checks'), ('torch', 'numpy')),
    'geometry': (('ops', 'errors', 'checks'), ('torch', 'numpy')),
    'geo': (('errors',), ('numpy', 'rasterio', 'pyproj', 'shapely', 'pyogrio')),
    'mmcv_bridge': (('ops', 'errors', 'checks'), ('torch', 'numpy', 'mmcv', 'mmengine')),
    'structures': (
        ('geometry', 'ops', 'errors', 'checks'),
        ('torch', 'numpy', 'cv2', 'mmdet.structures', 'mmengine.structures'),
    ),
    'datasets': (
        ('structures', 'geometry', 'errors', 'checks'),
        ('torch', 'numpy', 'cv2', 'PIL', 'tqdm', 'mmdet', 'mmengine', 'mmcv.transforms', 'mmcv.image', 'mmcv'),
    ),
    'datasets.scenes': (('errors', 'datasets.scenes'), ('numpy', 'cv2', 'tqdm')),
    'models': (
        ('structures', 'geometry', 'ops', 'errors', 'checks'),
        ('torch', 'numpy', 'scipy.optimize', 'mmdet', 'mmengine', 'mmcv.cnn'),
    ),
    'evaluation': (
        ('structures', 'geometry', 'ops', 'errors', 'checks'),
        ('torch', 'numpy', 'mmengine', 'mmdet.registry'),
    ),
    'evaluation.functional': (('geometry', 'ops', 'errors', 'evaluation.functional'), ('torch', 'numpy')),
    'visualization': (
        ('structures', 'geometry', 'errors', 'checks'),
        (
            'torch',
            'numpy',
            'cv2',
            'PIL',
            'matplotlib',
            'mmengine',
            'mmdet.visualization',
            'mmdet.structures',
            'mmdet.registry',
        ),
    ),
    'engine': (
        ('visualization', 'structures', 'errors', 'checks'),
        ('torch', 'numpy', 'mmengine', 'mmdet.registry', 'mmcv.cnn', 'tqdm'),
    ),
    '__main__': (('mmcv_bridge', 'registry'), ()),
    'registry': ((), ('mmdet.registry', 'mmengine')),
    'register': (ANY, ()),
    'apis': (ANY, ('torch', 'numpy', 'cv2', 'tqdm', 'mmengine', 'mmdet', 'mmcv')),
    'cli': (('apis', 'errors'), ()),
}
# What no room may import, even where the package it belongs to is allowed.
NEVER = ('mmcv.ops', 'mmcv._ext', 'torchvision')
NOT_BY_APIS = ('cli',)


def source_files() -> list[Path]:
    """Python files of the package."""
    return sorted(path for path in PACKAGE.rglob('*.py') if '.mim' not in path.parts)


def module_name(path: Path) -> str:
    """Dotted name below the package, '' for its own ``__init__``."""
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def room_of(module: str) -> str:
    """The most specific room of the law that a module is in."""
    parts = module.split('.')
    for length in range(len(parts), 0, -1):
        if '.'.join(parts[:length]) in LAW:
            return '.'.join(parts[:length])
    return ''


def imported(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything a file imports, at the top and inside functions."""
    package = ('stn_det', *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(package[: len(package) - node.level + 1]) if node.level else ''
            source = '.'.join(part for part in (base, node.module) if part)
            yield from ((node.lineno, f'{source}.{alias.name}') for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'import_module' and node.args:
            name = getattr(node.args[0], 'value', '.')
            if not str(name).startswith('.'):
                yield node.lineno, str(name)


def within(name: str, allowed: str) -> bool:
    """Whether a dotted name is ``allowed`` or below it."""
    return not allowed or name == allowed or name.startswith(f'{allowed}.')


def breaches(path: Path, text: str) -> list[str]:
    """Imports of one file that the law forbids."""
    room = room_of(module_name(path))
    if not room:
        return []
    ours, outside = LAW[room]
    found = []
    for line, name in imported(ast.parse(text), path):
        where = f'{path.relative_to(PACKAGE.parent)}:{line}: {room} imports {name}'
        if any(within(name, never) for never in NEVER) and room != 'mmcv_bridge':
            found.append(where)
        elif name.split('.')[0] == 'stn_det':
            inner = name.partition('.')[2]
            # `from .. import __version__` and the like name the package itself, which is no room.
            is_room = room_of(inner) != ''
            allowed = any(within(inner, own) for own in (*ours, room))
            if is_room and (not allowed or (room == 'apis' and inner.split('.')[0] in NOT_BY_APIS)):
                found.append(where)
        elif name.split('.')[0] not in sys.stdlib_module_names and not any(within(name, ok) for ok in outside):
            found.append(where)
    return found


def test_every_module_belongs_to_a_room() -> None:
    homeless = [module_name(path) for path in source_files() if not room_of(module_name(path))]
    assert homeless == ['']  # the package's own __init__


def test_rooms_import_only_downwards() -> None:
    found = [line for path in source_files() for line in breaches(path, path.read_text(encoding='utf-8'))]
    assert not found, '\n'.join(found)


@pytest.mark.parametrize(
    ('file', 'text'),
    [
        ('ops/nms.py', 'import mmcv'),
        ('ops/nms.py', 'from ..geometry import angles'),
        ('ops/nms.py', 'from .. import geometry'),
        ('geometry/angles.py', 'def f():\n    from stn_det.structures import RotatedBoxes'),
        ('models/head.py', 'from mmcv.ops import nms'),
        ('models/head.py', 'import mmcv.ops'),
        ('models/head.py', 'from ..datasets import dota'),
        ('datasets/scenes/world.py', 'import torch'),
        ('evaluation/functional/iou.py', 'from ..dota_metric import DOTAMetric'),
        ('apis/training.py', 'from ..cli import main'),
        ('cli/train.py', 'import torch'),
        ('cli/train.py', 'from ..models import heads'),
        ('apis/training.py', 'import torchvision'),
    ],
)
def test_the_law_notices(file: str, text: str) -> None:
    assert breaches(PACKAGE / file, text)


@pytest.mark.parametrize(
    ('file', 'text'),
    [
        ('ops/nms.py', 'import math\nimport torch\nfrom . import box_iou_rotated\nfrom ..errors import InputError'),
        ('models/head.py', 'from mmdet.registry import MODELS\nfrom ..ops import nms_rotated'),
        ('cli/train.py', 'from .. import __version__, apis\nfrom .options import add_config'),
    ],
)
def test_the_law_admits(file: str, text: str) -> None:
    assert not breaches(PACKAGE / file, text)


@pytest.mark.parametrize('module', ['stn_det', 'stn_det.errors', 'stn_det.ops', 'stn_det.geometry', 'stn_det.cli.main'])
def test_light_imports_are_quiet_and_load_no_openmmlab(module: str) -> None:
    code = (
        f'import sys, {module}\n'
        "loaded = sorted({name.split('.')[0] for name in sys.modules} & {'mmengine', 'mmcv', 'mmdet', 'cv2'})\n"
        'sys.exit(f"loaded {loaded}" if loaded else 0)'
    )
    run = subprocess.run([sys.executable, '-W', 'error', '-c', code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, '', '')

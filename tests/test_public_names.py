"""The public names of the rooms that other code builds on; a change of the list is a change of the interface.

After a change that is meant: python tests/test_public_names.py
"""

import importlib
import json
from pathlib import Path

import pytest

LISTED = Path(__file__).with_name('public_names.json')
MODULES = (
    'stn_det.ops',
    'stn_det.ops.modules',
    'stn_det.geometry',
    'stn_det.geometry.warp',
    'stn_det.structures',
    'stn_det.evaluation.functional',
    'stn_det.datasets.scenes',
    'stn_det.visualization',
    'stn_det.apis',
    'stn_det.errors',
)


def public_names(module: str) -> list[str]:
    """What a module offers: its ``__all__``, or the classes it defines."""
    loaded = importlib.import_module(module)
    names = getattr(loaded, '__all__', None)
    if names is None:
        names = [name for name, value in vars(loaded).items() if getattr(value, '__module__', '') == module]
    return sorted(names)


def current() -> dict[str, list[str]]:
    """Public names of all modules."""
    import stn_det.mmcv_bridge  # noqa: F401  structures need mmdet

    return {module: public_names(module) for module in MODULES}


@pytest.mark.parametrize('module', MODULES)
def test_public_names_are_those_listed(module: str) -> None:
    listed = json.loads(LISTED.read_text(encoding='utf-8'))
    assert current()[module] == listed[module]


@pytest.mark.parametrize('module', MODULES)
def test_every_public_name_is_there(module: str) -> None:
    import stn_det.mmcv_bridge  # noqa: F401  structures need mmdet

    loaded = importlib.import_module(module)
    assert [name for name in public_names(module) if not hasattr(loaded, name)] == []


if __name__ == '__main__':
    LISTED.write_text(json.dumps(current(), indent=2) + '\n', encoding='utf-8')

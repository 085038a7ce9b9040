"""Fixtures that every room's tests share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope='session')
def real_data() -> Path:
    """Folder of the real data, or a skip where it is absent (override with STN_DET_REAL_DATA)."""
    folder = Path(os.environ.get('STN_DET_REAL_DATA', REPOSITORY.parent / 'shared' / 'data'))
    if not folder.is_dir():
        pytest.skip(f'real data not found at {folder}; set STN_DET_REAL_DATA')
    return folder


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same random state."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _default_scope_restored() -> Iterator[None]:
    """A runner leaves mmengine's default scope behind, in which the next test's models are not found."""
    before = dict(_default_scopes())
    yield
    scopes = _default_scopes()
    scopes.clear()
    scopes.update(before)


def _default_scopes() -> dict:
    registry = sys.modules.get('mmengine.registry')
    return registry.DefaultScope._instance_dict if registry else {}

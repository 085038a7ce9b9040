"""What stands beside figures."""

import re
import subprocess
from pathlib import Path

import pytest

from stn_det.apis import provenance


def test_versions_and_hardware_are_named() -> None:
    assert {'stn_det', 'python', 'torch', 'mmdet'} <= set(provenance.versions())
    assert provenance.hardware()['cpu_threads'] >= 1


def test_commit_of_a_checkout(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('STN_DET_COMMIT', raising=False)
    if not (repository / '.git').exists():
        pytest.skip('no checkout')
    assert re.fullmatch(r'.*[0-9a-f]{7,}(-dirty)?', provenance.commit() or '')
    monkeypatch.setattr(subprocess, 'run', lambda *args, **kwargs: (_ for _ in ()).throw(FileNotFoundError()))
    assert provenance.commit() is None


def test_commit_of_a_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('STN_DET_COMMIT', 'abc1234')
    assert provenance.commit() == 'abc1234'
    monkeypatch.delenv('STN_DET_COMMIT')
    monkeypatch.setattr(
        provenance, '_package_file', str(tmp_path / 'lib' / 'site-packages' / 'stn_det' / '__init__.py')
    )
    assert provenance.commit() is None

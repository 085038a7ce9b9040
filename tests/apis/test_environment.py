"""The report on the installation, whole and broken."""

import importlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from stn_det.apis import environment
from stn_det.apis.environment import FAIL, NOTE, OK, Check, Report, doctor
from stn_det.ops import _library, status


def by_name(report: Report) -> dict[str, Check]:
    return {check.name: check for check in report.checks}


def test_this_environment_is_sound() -> None:
    checks = by_name(doctor())
    needed = ('python', 'torch', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmcv bridge', 'operators', 'configs', 'folder')
    assert {name: checks[name].status for name in needed} == dict.fromkeys(needed, OK)


def test_a_broken_import_is_reported_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def broken(name: str, *rest: Any) -> Any:
        if name.startswith(('numpy', 'stn_det.mmcv_bridge')):
            raise OSError('libfoo.so: cannot open shared object file')
        return real(name, *rest)

    monkeypatch.setattr(environment, 'import_module', broken)
    report = doctor()
    checks = by_name(report)
    assert not report.ok
    assert checks['numpy'].status == checks['mmcv bridge'].status == FAIL
    assert 'libfoo.so' in checks['numpy'].detail
    assert 'pip install' in checks['numpy'].remedy
    assert checks['folder'].status == OK


def versions(monkeypatch: pytest.MonkeyPatch, installed: dict[str, str]) -> None:
    """Make ``metadata.version`` know these distributions only."""

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, 'version', version)


def test_missing_packages_come_with_the_extra_that_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, {})
    checks = by_name(doctor())
    assert checks['mmdet'] == Check('mmdet', FAIL, 'not installed', 'pip install "stn-det[mm]"')


def test_two_distributions_of_one_name_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, {'onedl-mmcv': '2.3.6', 'mmcv-lite': '2.1.0', 'onedl-mmengine': '0.10.12'})
    check = by_name(doctor())['mmcv']
    assert check.status == FAIL
    assert 'onedl-mmcv 2.3.6, mmcv-lite 2.1.0 overwrite each other' in check.detail
    assert 'pip uninstall mmcv-lite' in check.remedy


def test_what_libraries_print_stays_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def noisy() -> Iterator[Check]:
        print('welcome to a library')
        yield Check('noisy', OK, '')

    monkeypatch.setattr(environment, 'PROBES', (('noisy', '', noisy),))
    assert doctor().ok
    assert capsys.readouterr().out == ''


def test_a_folder_that_cannot_be_written_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.os, 'getcwd', lambda: '/nowhere/at/all')
    check = by_name(doctor())['folder']
    assert check.status == FAIL
    assert 'change to a folder' in check.remedy


@pytest.mark.parametrize('compiled', [False, True])
def test_operators_on_cuda_have_a_line_of_their_own(monkeypatch: pytest.MonkeyPatch, compiled: bool) -> None:
    remedy = '' if compiled else 'python -m stn_det.ops.build --cuda'
    where = '/lib/libstn_det_cuda.so' if compiled else 'not built'
    operators = frozenset({'nms'}) if compiled else frozenset()
    found = _library._Loaded(Path(where) if compiled else None, operators, where, remedy)
    monkeypatch.setattr(torch.version, 'cuda', None)
    assert 'operators on CUDA' not in by_name(doctor())
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setitem(_library._libraries, 'cuda', found)
    monkeypatch.setattr(_library, '_on_cuda', found.names)
    count = 2 if compiled else 0  # nms, and nms_match which is made of it
    detail = f'{count} compiled for CUDA, {len(status()) - count} in plain PyTorch; {where}'
    expected = Check('operators on CUDA', OK if compiled else NOTE, detail, remedy)
    assert by_name(doctor())['operators on CUDA'] == expected

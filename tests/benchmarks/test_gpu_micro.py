"""The program of small measurements compiles, and what it prints is understood."""

import shutil
from pathlib import Path

import gpu_micro
import pytest


def test_output_is_sorted_by_test() -> None:
    output = (
        '{"test": "device", "name": "NVIDIA H100", "multiprocessors": 132}\n'
        '{"test": "sums", "kind": "v4", "rows": "hot", "ms": 1.5}\n'
        '{"test": "reads", "megabytes": 4, "ms": 0.2}\n'
        '{"test": "reads", "megabytes": 8, "ms": 0.3}\n'
        '{"test": "clock", "hertz": 1.7e9}\n'
    )
    found = gpu_micro.figures(output)
    assert found['device'] == {'name': 'NVIDIA H100', 'multiprocessors': 132}
    assert found['sums'] == [{'kind': 'v4', 'rows': 'hot', 'ms': 1.5}]
    assert [line['megabytes'] for line in found['reads']] == [4, 8]
    assert found['clock'] == {'hertz': 1.7e9}


@pytest.mark.skipif(shutil.which('nvcc') is None, reason='no nvcc')
def test_program_compiles_for_hopper(tmp_path: Path) -> None:
    gpu_micro.compile_program('sm_90', tmp_path / 'throughput')
    assert (tmp_path / 'throughput').stat().st_size > 0


@pytest.mark.skipif(shutil.which('nvcc') is None, reason='no nvcc')
def test_what_nvcc_says_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match='sm_1'):
        gpu_micro.compile_program('sm_1', tmp_path / 'throughput')


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('PATH', '')
    with pytest.raises(RuntimeError, match='nvcc is not on the PATH'):
        gpu_micro.compile_program('sm_90', tmp_path / 'throughput')

"""Public names of the operator room."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import stn_det.ops
from stn_det.ops._status import COMPOSED


def test_status_names_every_public_operator() -> None:
    status = stn_det.ops.status()
    assert set(status) | set(COMPOSED) == set(stn_det.ops.__all__) - {'status'}
    assert not set(status) & set(COMPOSED)
    assert set(status.values()) <= {'python', 'cpu', 'cuda', 'cpu+cuda'}
    assert all(callable(getattr(stn_det.ops, name)) for name in stn_det.ops.__all__)


def test_import_needs_no_openmmlab_package() -> None:
    code = "import sys, stn_det.ops; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert 'torch' in loaded
    assert not loaded & {'mmcv', 'mmengine', 'mmdet'}


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    """Python in a process of its own, with more in its environment."""
    command = [sys.executable, '-W', 'always', '-c', code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})


@pytest.mark.usefixtures('compiled', 'cpu_only')
def test_the_code_that_runs_is_named() -> None:
    code = 'from stn_det.ops._library import instruction_set; print(repr(instruction_set()))'
    assert run(code).stdout.strip() in ("'AVX2'", "'portable'")
    assert run(code, STN_DET_ISA='baseline').stdout.strip() == "'portable'"
    assert run(code, STN_DET_OPS='python').stdout.strip() == "''"


def test_plain_pytorch_on_request() -> None:
    done = run('from stn_det.ops import status; print(set(status().values()))', STN_DET_OPS='python')
    assert done.stdout.strip() == "{'python'}"
    assert done.stderr == ''


def test_a_library_that_does_not_load_is_named_once_and_replaced(tmp_path: Path) -> None:
    library = tmp_path / 'broken.so'
    library.write_text('not a library')
    done = run('from stn_det.ops import status; print(set(status().values()))', STN_DET_OPS=str(library))
    assert done.stdout.strip() == "{'python'}"
    assert done.stderr.count(f'{library} does not load') == 1
    assert 'python -m stn_det.ops.build' in done.stderr

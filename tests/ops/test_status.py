"""Public names of the operator room."""

import subprocess
import sys

import stn_det.ops


def test_status_names_every_public_operator() -> None:
    status = stn_det.ops.status()
    assert set(status) == set(stn_det.ops.__all__) - {'status'}
    assert set(status.values()) == {'python'}
    assert all(callable(getattr(stn_det.ops, name)) for name in stn_det.ops.__all__)


def test_import_needs_no_openmmlab_package() -> None:
    code = "import sys, stn_det.ops; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert 'torch' in loaded
    assert not loaded & {'mmcv', 'mmengine', 'mmdet'}

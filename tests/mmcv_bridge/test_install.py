"""The three states of the bridge, on mmcv packages made here, each in a process of its own."""

import importlib.machinery
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

EXPECTED = (
    'nms',
    'softnms',
    'nms_match',
    'nms_rotated',
    'box_iou_rotated',
    'roi_align_forward',
    'roi_align_backward',
    'sigmoid_focal_loss_forward',
    'deform_conv_forward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_forward',
)
REPORT = """
import stn_det.mmcv_bridge as bridge
status = bridge.status()
print(status.state, status.mmcv_version, status.extension_path, len(status.provided), sep='|')
print(status.reason)
"""


def make_mmcv(folder: Path, **files: str) -> Path:
    """A package ``mmcv`` in ``folder`` with the given modules."""
    package = folder / 'mmcv'
    package.mkdir()
    (package / '__init__.py').write_text("__version__ = '9.8.7'\n")
    for name, text in files.items():
        (package / f'{name}.py').write_text(text)
    return package


# Loading torch takes seconds, so one process does it and forks a child for each case.
SERVER = """
import json, os, sys, traceback
import stn_det.ops
for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if pid == 0:
        for stream, name in ((1, 'stdout'), (2, 'stderr')):
            os.dup2(os.open(os.path.join(job['folder'], name), os.O_WRONLY | os.O_CREAT), stream)
        sys.path.insert(0, job['folder'])
        code = 0
        try:
            exec(job['code'], {'__name__': '__main__'})
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
Run = Callable[[str, Path], subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs os.fork')


@pytest.fixture(scope='module')
def run() -> Iterator[Run]:
    """Runs code in a fresh process in which ``folder`` is the first place to import from."""
    server = subprocess.Popen(
        [sys.executable, '-c', SERVER],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None

    def call(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
        print(json.dumps({'code': code, 'folder': str(folder)}), file=server.stdin, flush=True)
        returncode = int(server.stdout.readline())
        output = ((folder / name).read_text() for name in ('stdout', 'stderr'))
        return subprocess.CompletedProcess([], returncode, *output)

    yield call
    server.stdin.close()
    server.wait(timeout=60)


def test_absent_extension_is_replaced_quietly(run: Run, tmp_path: Path) -> None:
    make_mmcv(tmp_path, user="from mmcv import _ext\nassert hasattr(_ext, 'any_operator_of_mmcv')\n")
    result = run(
        REPORT
        + """
import importlib, importlib.util, sys, mmcv
from stn_det.errors import MissingOperatorError
import mmcv.user
first = sys.modules['mmcv._ext']
assert mmcv._ext is first and importlib.import_module('mmcv._ext') is first
assert importlib.util.find_spec('mmcv._ext').loader is not None
assert not hasattr(first, '__path__') and not hasattr(first, '_private')
assert bridge.install() is status and sys.modules['mmcv._ext'] is first
assert 'mmcv.ops' not in sys.modules and 'mmdet' not in sys.modules
assert set(status.provided) <= set(vars(first))
try:
    first.upfirdn2d(1, flip=True)
except MissingOperatorError as error:
    print(error)
""",
        tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ''
    state, reason, missing = result.stdout.splitlines()
    assert state.startswith('active|9.8.7|None|')
    assert int(state.rsplit('|', 1)[1]) > 45
    assert 'without compiled operators' in reason
    assert "'upfirdn2d'" in missing
    assert 'install an mmcv compiled for torch' in missing


def test_working_extension_is_left_alone(run: Run, tmp_path: Path) -> None:
    functions = ''.join(f'def {name}(): pass\n' for name in EXPECTED)
    make_mmcv(tmp_path, _ext=functions)
    code = 'import mmcv._ext as before\n' + REPORT + 'import mmcv._ext as after\nassert after is before\n'
    result = run(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ''
    assert result.stdout.startswith(f'inactive|9.8.7|{tmp_path}')
    assert '|0\n' in result.stdout


def test_broken_binary_is_taken_over_with_one_warning(run: Run, tmp_path: Path) -> None:
    package = make_mmcv(tmp_path)
    binary = package / f'_ext{importlib.machinery.EXTENSION_SUFFIXES[0]}'
    binary.write_bytes(b'\x7fELF\x02\x01\x01' + bytes(57))
    result = run(REPORT + 'bridge.install(); bridge.status(); import mmcv._ext; mmcv._ext.nms\n', tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f'takeover|9.8.7|{binary}|')
    assert 'cannot be loaded (ImportError' in result.stdout
    assert result.stderr.count('RuntimeWarning') == 1
    assert str(binary) in result.stderr
    assert 'rebuild mmcv for the installed torch' in result.stderr


def test_partial_extension_is_taken_over_and_wrappers_follow(run: Run, tmp_path: Path) -> None:
    package = make_mmcv(tmp_path, _ext='def nms(): pass\n')
    (package / 'ops').mkdir()
    (package / 'ops' / '__init__.py').write_text('from . import nms\n')
    (package / 'ops' / 'nms.py').write_text('from mmcv import _ext as ext_module\n')
    code = 'import mmcv.ops\n' + REPORT + 'assert mmcv.ops.nms.ext_module is mmcv._ext; mmcv._ext.nms_rotated\n'
    result = run(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith('takeover|')
    assert 'lacks the operators softnms, nms_match' in result.stdout
    assert result.stderr.count('RuntimeWarning') == 1


def test_placeholders_of_modules_imported_too_early_are_replaced(run: Run, tmp_path: Path) -> None:
    package = make_mmcv(tmp_path)
    (package / 'ops').mkdir()
    (package / 'ops' / '__init__.py').write_text('from mmcv import _ext\nbatched_nms, Layer = len, dict\n')
    (package / 'ops' / 'merge_cells.py').write_text('')
    mmdet = tmp_path / 'mmdet'
    mmdet.mkdir()
    (mmdet / '__init__.py').write_text(
        """
try:
    from mmcv.ops import Layer, batched_nms as _batched_nms
except ImportError:
    def _batched_nms(*args):
        raise RuntimeError('batched_nms requires mmcv to be compiled with ops. Please reinstall.')

    class Layer:
        def __init__(self):
            raise RuntimeError('Layer requires mmcv to be compiled with ops. Please reinstall.')

def untouched():
    return 'mine'
"""
    )
    code = 'import mmdet\n' + REPORT + "print(mmdet._batched_nms('abc'), mmdet.Layer(), mmdet.untouched())\n"
    result = run(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == '3 {} mine'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (None, 'needs mmcv, which is not installed; install one of .*pip install onedl-mmengine'),
        ('import a_module_that_is_not_there', "cannot be imported, because 'a_module_that_is_not_there' is missing"),
    ],
    ids=['no mmcv', 'mmcv lacks a dependency'],
)
def test_missing_dependency(run: Run, tmp_path: Path, text: str | None, message: str) -> None:
    code = 'import stn_det.mmcv_bridge\n'
    if text is None:
        code = "import sys; sys.modules['mmcv'] = None\n" + code
    else:
        (make_mmcv(tmp_path) / '__init__.py').write_text(text)
    result = run(code, tmp_path)
    assert result.returncode == 1
    assert 'MissingDependencyError' in result.stderr
    assert re.search(message, result.stderr)

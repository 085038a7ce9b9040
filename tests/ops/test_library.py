"""Where the compiled operators come from, with libraries and a registry that are made up."""

import os
import warnings
from pathlib import Path

import pytest
import torch

from stn_det.ops import _build, _library, status


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, set[str]]:
    """An empty machine: nothing built, nothing registered, no CUDA.

    A file stands for a library. Loading it registers the operators that it lists, a line for each device; one that
    lists none does not load.
    """
    found: dict[str, set[str]] = {'cpu': set(), 'cuda': set()}

    def load(path: str) -> None:
        lines = Path(path).read_text().splitlines()
        if not lines:
            raise OSError('file too short')
        for device, *names in map(str.split, lines):
            found[device].update(names)

    monkeypatch.setattr(torch.ops, 'load_library', load)
    monkeypatch.setattr(torch.version, 'cuda', None)
    monkeypatch.setattr(_library, '_registered', lambda device: frozenset(found[device]))
    monkeypatch.setattr(_build, 'PACKAGED', tmp_path / 'packaged')
    monkeypatch.setattr(_build, 'user_folder', lambda: tmp_path / 'user')
    monkeypatch.delenv('STN_DET_OPS', raising=False)
    for folder in ('packaged', 'user'):
        (tmp_path / folder).mkdir()
    return found


def built(folder: Path, device: str, content: str) -> Path:
    """A library of today's sources."""
    path = folder / _build.library_name(device)
    path.write_text(content)
    return path


def reports() -> dict[str, tuple[Path | None, set[str], str, str]]:
    return {device: (loaded[0], set(loaded[1]), *loaded[2:]) for device, loaded in _library._load().items()}


@pytest.mark.usefixtures('registry')
def test_nothing_built(monkeypatch: pytest.MonkeyPatch) -> None:
    remedy = 'python -m stn_det.ops.build'
    nothing = {'cpu': (None, set(), 'not built', remedy), 'cuda': (None, set(), 'this torch is built without CUDA', '')}
    assert reports() == nothing
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    assert reports() == {**nothing, 'cuda': (None, set(), 'not built', f'{remedy} --cuda')}


@pytest.mark.usefixtures('registry')
def test_each_device_has_a_library_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpu = built(tmp_path / 'packaged', 'cpu', 'cpu nms roi_align')
    cuda = built(tmp_path / 'user', 'cuda', 'cuda nms')
    expected = {'cpu': (cpu, {'nms', 'roi_align'}, str(cpu), '')}
    assert reports() == {**expected, 'cuda': (None, set(), 'this torch is built without CUDA', '')}
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    assert reports() == {**expected, 'cuda': (cuda, {'nms'}, str(cuda), '')}


@pytest.mark.usefixtures('registry')
@pytest.mark.parametrize(('broken', 'option'), [('cpu', ''), ('cuda', ' --cuda')])
def test_a_library_that_does_not_load_leaves_the_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: str, option: str
) -> None:
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    whole = 'cuda' if broken == 'cpu' else 'cpu'
    other = built(tmp_path / 'packaged', whole, f'{whole} nms')
    path = built(tmp_path / 'packaged', broken, '')
    remedy = f'python -m stn_det.ops.build{option}'
    with pytest.warns(UserWarning, match=f'does not load: file too short.*; rebuild them: {remedy}$') as caught:
        found = reports()
    assert len(caught) == 1
    assert found[broken] == (None, set(), f'{path} does not load: file too short', remedy)
    assert found[whole] == (other, {'nms'}, str(other), '')


@pytest.mark.usefixtures('registry')
def test_python_means_no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built(tmp_path / 'packaged', 'cpu', 'cpu nms')
    monkeypatch.setenv('STN_DET_OPS', 'python')
    asked = (None, set(), 'STN_DET_OPS=python asks for plain PyTorch', 'unset STN_DET_OPS')
    assert reports() == {'cpu': asked, 'cuda': asked}


@pytest.mark.usefixtures('registry')
def test_libraries_that_are_named_are_told_apart_by_what_they_register(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built(tmp_path / 'packaged', 'cpu', 'cpu roi_align')
    one, two = tmp_path / 'one.so', tmp_path / 'two.so'
    one.write_text('cuda nms')
    two.write_text('cpu nms_match')
    monkeypatch.setenv('STN_DET_OPS', f'{one}{os.pathsep}{two}')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert reports() == {
            'cpu': (two, {'nms_match'}, str(two), ''),
            'cuda': (one, {'nms'}, str(one), ''),
        }


@pytest.mark.usefixtures('registry')
def test_a_device_that_no_named_library_is_for_runs_in_plain_pytorch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built(tmp_path / 'packaged', 'cpu', 'cpu nms')
    path = tmp_path / 'libstn_det_cuda-mine.so'
    path.write_text('')
    monkeypatch.setenv('STN_DET_OPS', str(path))
    with pytest.warns(UserWarning, match='rebuild them: python -m stn_det.ops.build --cuda$'):
        found = reports()
    assert found['cpu'] == (None, set(), f'STN_DET_OPS={path} names no library for it', '')
    assert found['cuda'][2] == f'{path} does not load: file too short'


def test_compiled_for_either_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_library, '_on_cpu', frozenset({'nms', 'roi_align'}))
    monkeypatch.setattr(_library, '_on_cuda', frozenset({'nms', 'deform_im2col'}))
    assert _library.is_compiled('nms', 'cpu')
    assert _library.is_compiled('nms', torch.device('cuda', 1))
    assert not _library.is_compiled('roi_align', 'cuda')
    assert not _library.is_compiled('nms', 'meta')
    found = status()
    assert found['nms'] == found['nms_match'] == 'cpu+cuda'
    assert found['roi_align'] == 'cpu'
    assert found['deform_conv2d'] == 'cuda'
    assert found['warp_sample'] == 'python'

"""The command of the benchmark under distortions."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stn_det import apis
from stn_det.errors import ConfigError


@pytest.fixture
def tool(repository: Path) -> Any:
    path = repository / 'tools' / 'analysis' / 'distortion_benchmark.py'
    spec = importlib.util.spec_from_file_location('distortion_benchmark', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Replace the function behind the command; what it was called with. An exception in the list is raised."""
    seen: list[Any] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        print('a library prints this')
        if seen and isinstance(seen[0], BaseException):
            raise seen[0]
        seen.append((args, kwargs))
        return SimpleNamespace(table=lambda: '| a table |', files=(Path('out/distortion.json'),))

    monkeypatch.setattr(apis, 'distortion_benchmark', call)
    return seen


def test_pairs_and_options_are_passed_on(tool: Any, calls: list, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ['a.py', 'a.pth', 'b.py', 'b.pth', '--names', 'a', 'b', '--families', 'rotation', '--levels']
    arguments += ['rotation=0,45', '--max-images', '7', '--seed', '3', '--out-dir', 'o', '--device', 'cpu']
    assert tool.main([*arguments, '--cfg-options', 'x=1', 'y=2', '--allow-new']) == 0
    assert calls == [
        (
            ([('a.py', 'a.pth'), ('b.py', 'b.pth')],),
            dict(
                names=['a', 'b'], families=['rotation'], levels={'rotation': (0.0, 45.0)}, max_images=7, seed=3,
                out_dir='o', cfg_options=['x=1', 'y=2'], allow_new=True, device='cpu',
            ),
        )
    ]  # fmt: skip
    output = capsys.readouterr()
    assert output.out == '| a table |\nwritten: out/distortion.json\n'
    assert 'a library prints this' in output.err


def test_help_has_an_example(tool: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match='0'):
        tool.main(['--help'])
    text = capsys.readouterr().out
    assert 'example:\n  python tools/analysis/distortion_benchmark.py plain.py plain.pth' in text
    offered = {word.strip('[],') for word in text.split('options:')[1].split() if word.startswith('--')}
    assert offered == {
        '--help', '--names', '--families', '--levels', '--max-images', '--seed', '--out-dir', '--debug',
        '--cfg-options', '--allow-new', '--device',
    }  # fmt: skip


def test_a_config_without_checkpoint_is_wrong_usage(tool: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match='2'):
        tool.main(['a.py', 'a.pth', 'b.py'])
    assert '3 files are given; expected pairs of config and checkpoint' in capsys.readouterr().err


def test_an_error_is_one_line(tool: Any, calls: list, capsys: pytest.CaptureFixture[str]) -> None:
    calls.append(ConfigError('config x is wrong.'))
    assert tool.main(['a.py', 'a.pth']) == 1
    assert capsys.readouterr().err.splitlines()[-1] == 'error: config x is wrong.'
    tool.main(['a.py', 'a.pth', '--debug'])
    assert 'Traceback' in capsys.readouterr().err
    assert tool.main(['a.py', 'a.pth', '--levels', 'rotation:0']) == 1
    assert "error: levels 'rotation:0' are not of the form" in capsys.readouterr().err


def test_an_interruption_says_how_to_go_on(tool: Any, calls: list, capsys: pytest.CaptureFixture[str]) -> None:
    calls.append(KeyboardInterrupt())
    assert tool.main(['a.py', 'a.pth']) == 1
    assert 'finished levels are kept; the same command goes on' in capsys.readouterr().err


def test_a_real_call(
    tool: Any, scene_config: Path, small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        str(scene_config),
        str(small_checkpoint),
        '--levels',
        'shear=0.3',
        '--max-images',
        '1',
        '--device',
        'cpu',
    ]
    assert tool.main([*arguments, '--out-dir', str(tmp_path), '--names', 'tiny']) == 0
    output = capsys.readouterr().out
    assert '| model | measure | 0 | 0.3 |' in output
    assert f'written: {tmp_path}/distortion_mAP.png' in output
    assert (tmp_path / 'distortion_mAP.png').is_file()

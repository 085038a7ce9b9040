"""The command line as its user meets it: exit codes, what goes to stdout, what is suggested."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stn_det import apis
from stn_det.apis.environment import Check, Report
from stn_det.apis.predicting import PredictResult
from stn_det.apis.training import TrainResult
from stn_det.cli.main import COMMANDS, main
from stn_det.errors import ConfigError

# A new option is a change of the interface: it belongs in this list and in docs/train_test.md.
OPTIONS = {
    'demo': {'--work-dir', '--quick', '--seed', '--images', '--epochs', '--device'},
    'doctor': {'--json'},
    'train': {
        '--work-dir', '--resume', '--amp', '--auto-scale-lr', '--cfg-options', '--allow-new', '--device', '--launcher',
    },
    'test': {
        '--work-dir', '--out', '--show', '--show-dir', '--wait-time', '--tta', '--cfg-options', '--allow-new',
        '--device', '--launcher',
    },
    'predict': {
        '--out-dir', '--score-thr', '--classes', '--no-draw', '--resume', '--cfg-options', '--allow-new', '--device',
    },
}  # fmt: skip


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[tuple, dict]]:
    """Replace the functions behind the commands; what they were called with, by name."""
    seen: dict[str, tuple[tuple, dict]] = {}
    results: dict[str, Any] = {
        'train': TrainResult(Path('w'), Path('w/log'), Path('w/epoch_1.pth'), 1, {'dota/AP50': 0.25}),
        'test': {'dota/AP50': 0.5, 'dota/mAP': 0.25},
        'predict': PredictResult(Path('out'), done=[Path('a.png')], detections=3),
    }

    def stand_in(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            print('a library logs this')
            seen[name] = (args, kwargs)
            if isinstance(results[name], BaseException):
                raise results[name]
            return results[name]

        return call

    for name in results:
        monkeypatch.setattr(apis, name, stand_in(name))
    seen['results'] = results  # type: ignore[assignment]
    return seen


@pytest.mark.parametrize('command', COMMANDS)
def test_help_has_an_example_and_the_known_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        main([command, '--help'])
    assert leave.value.code == 0
    text = capsys.readouterr().out
    assert f'example:\n  stn-det {command}' in text
    offered = {word.strip('[],') for word in text.split('options:')[1].split() if word.startswith('--')}
    assert offered - {'--help', '--debug'} == OPTIONS[command]


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert 'stn-det demo --quick' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['trian'], "error: unknown command 'trian'. Did you mean train?"),
        (['xyz'], "error: unknown command 'xyz'. The commands are demo, doctor, train, test, predict."),
        (['train', 'a.py', '--workdir', 'w'], 'Did you mean --work-dir?'),
        (['predict', 'a.py', 'b.pth', 'c.png', '--score-treshold=1'], 'Did you mean --score-thr?'),
        (['test', 'a.py'], 'the following arguments are required: checkpoint'),
        (['train', 'a.py', '--launcher', 'ssh'], "invalid choice: 'ssh'"),
    ],
)
def test_wrong_usage_leaves_with_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        main(arguments)
    assert leave.value.code == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.out == ''


def test_train_prints_results_only(calls: dict, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['train', 'a.py', '--resume', '--cfg-options', 'x=1', 'y=2', '--amp']) == 0
    assert calls['train'][0] == ('a.py',)
    assert calls['train'][1]['resume'] == 'auto'
    assert calls['train'][1]['cfg_options'] == ['x=1', 'y=2']
    assert calls['train'][1]['amp'] is True
    output = capsys.readouterr()
    assert output.out == 'checkpoint  w/epoch_1.pth\ndota/AP50  0.2500\n'
    assert 'a library logs this' in output.err


def test_an_interrupted_training_says_how_to_go_on(calls: dict, capsys: pytest.CaptureFixture[str]) -> None:
    calls['results']['train'] = KeyboardInterrupt()
    assert main(['train', 'a.py']) == 1
    assert 'the same command with --resume goes on' in capsys.readouterr().err


def test_test_prints_the_metrics(calls: dict, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['test', 'a.py', 'b.pth', '--out', 'm.json']) == 0
    assert calls['test'][0] == ('a.py', 'b.pth')
    assert capsys.readouterr().out == 'dota/AP50  0.5000\ndota/mAP   0.2500\n'


def test_predict_fails_at_the_end_when_an_image_failed(calls: dict, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['predict', 'a.py', 'b.pth', 'x', 'y', '--classes', 'ship']) == 0
    assert calls['predict'][0] == ('a.py', 'b.pth', ['x', 'y'])
    assert calls['predict'][1]['classes'] == ['ship']
    calls['results']['predict'].failed[Path('bad.png')] = 'is truncated'
    assert main(['predict', 'a.py', 'b.pth', 'x']) == 1
    output = capsys.readouterr()
    assert 'failed: bad.png: is truncated' in output.err
    assert '3 objects in 1 images; results in out' in output.out


def test_an_error_is_one_line(calls: dict, capsys: pytest.CaptureFixture[str]) -> None:
    calls['results']['test'] = ConfigError('config x is wrong.')
    assert main(['test', 'a.py', 'b.pth']) == 1
    assert capsys.readouterr().err.splitlines()[-1] == 'error: config x is wrong.'
    main(['test', 'a.py', 'b.pth', '--debug'])
    assert 'Traceback' in capsys.readouterr().err


def test_missing_openmmlab_packages_are_explained(calls: dict, capsys: pytest.CaptureFixture[str]) -> None:
    calls['results']['test'] = ModuleNotFoundError("No module named 'mmengine'", name='mmengine')
    assert main(['test', 'a.py', 'b.pth']) == 1
    assert 'Install it with pip install "stn-det[mm]"; see stn-det doctor.' in capsys.readouterr().err


def test_a_bug_is_not_hidden(calls: dict) -> None:
    calls['results']['test'] = ZeroDivisionError('division by zero')
    with pytest.raises(ZeroDivisionError, match='division by zero'):
        main(['test', 'a.py', 'b.pth'])


def test_doctor_prints_a_table_or_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report((Check('torch', 'ok', '2.13'), Check('mmdet', 'fail', 'not installed', 'pip install it')))
    monkeypatch.setattr(apis, 'doctor', lambda: report)
    assert main(['doctor']) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ['ok    torch  2.13', 'FAIL  mmdet  not installed  ->  pip install it']
    assert main(['doctor', '--json']) == 1
    assert json.loads(capsys.readouterr().out)['checks'][1]['remedy'] == 'pip install it'


def test_errors_of_real_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo = 'oriented-point-le90_mobilenetv2_fpn_demo_scenes'
    (tmp_path / 'epoch_1.pth').touch()
    for arguments, message in (
        (['train', f'{demo[:-1]}'], f'Did you mean {demo}.py'),
        (['train', demo, '--cfg-options', 'train_cfg.max_epoch=3'], 'Did you mean max_epochs?'),
        (['test', demo, f'{tmp_path}/epoch_2.pth'], 'Did you mean epoch_1.pth?'),
        (['test', demo, f'{tmp_path}/epoch_1.pth'], 'cannot be read'),
        (['test', demo, 'a.pth', '--out', 'm.csv'], 'expected a name ending in .json (metrics) or .pkl (predictions)'),
        (['train', demo, '--resume', f'{tmp_path}/epoch_2.pth'], 'Did you mean epoch_1.pth?'),
    ):
        assert main(arguments) == 1
        output = capsys.readouterr()
        assert message in output.err.splitlines()[-1]
        assert output.out == ''


def test_the_module_runs_and_starts_quickly(tmp_path: Path) -> None:
    command = [sys.executable, '-X', 'importtime', '-m', 'stn_det.cli', '--version']
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.split()[0]) == (0, 'stn-det')
    assert not [line for line in run.stderr.splitlines() if line.endswith((' torch', ' mmengine', ' mmdet'))]

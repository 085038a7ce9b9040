import re

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook


def _hook(**kwargs):
    from stn_det.engine import ProgressBarHook

    return ProgressBarHook(**kwargs)


class CountMetric(BaseMetric):
    default_prefix = 'toy'

    def process(self, data_batch, data_samples):
        self.results.extend(range(len(data_samples)))

    def compute_metrics(self, results):
        return {'count': len(results)}


class StopHook(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if batch_idx == 1:
            raise RuntimeError('stop here')


class SpeakHook(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        runner.logger.warning(f'a line of the log, {batch_idx}')


def test_quiet_when_not_a_terminal(toy_model, train, capfd):
    hook = _hook()
    train(toy_model, [hook], epochs=1)
    assert 'epoch' not in capfd.readouterr().err
    assert not hook._bars


def test_shows_loss_rate_and_time_left(toy_model, train, capsys):
    train(toy_model, [_hook(force=True, refresh_seconds=0.0)])
    shown = capsys.readouterr().err
    assert 'epoch 1/2' in shown
    assert 'epoch 2/2' in shown
    assert '4/4' in shown
    assert re.search(r'loss=\d+\.\d{4}', shown)
    assert 'lr=1.00e-01' in shown
    assert re.search(r'all done in \d+:\d\d', shown)


def test_iteration_based_training_is_one_bar_and_validation_another(toy_model, train, capsys):
    from torch.utils.data import DataLoader

    holder = {}

    class Grab(Hook):
        def before_val_epoch(self, runner):
            holder['open'] = set(hook._bars)

    hook = _hook(force=True)
    dataset = [{'inputs': torch.ones(3), 'data_samples': torch.zeros(1)} for _ in range(4)]
    loader = DataLoader(dataset, batch_size=2)
    train(
        toy_model,
        [hook, Grab()],
        train_cfg={'by_epoch': False, 'max_iters': 6, 'val_interval': 3},
        val_dataloader=loader,
        val_cfg={},
        val_evaluator=[CountMetric()],
    )
    shown = capsys.readouterr().err
    assert '6/6' in shown
    assert 'validate' in shown
    assert 'train' in holder['open']
    assert not hook._bars


def test_exception_closes_the_bar_and_gives_the_logger_back(toy_model, train, capsys):
    hook = _hook(force=True)
    result = train(toy_model, [hook, StopHook()], catch=RuntimeError)
    assert 'stop here' in str(result.error)
    assert not hook._bars
    assert hook._redirect is None
    assert not any('Tqdm' in type(handler).__name__ for handler in result.runner.logger.handlers)


def test_log_lines_stand_on_their_own(toy_model, train, capsys):
    train(toy_model, [_hook(force=True), SpeakHook()], epochs=1)
    captured = capsys.readouterr()
    lines = [line for line in (captured.out + captured.err).splitlines() if 'a line of the log' in line]
    assert len(lines) == 4
    assert all('it/s' not in line for line in lines)


def test_other_processes_show_nothing(toy_model, train, capsys, monkeypatch):
    monkeypatch.setattr('stn_det.engine.hooks.progress_bar.is_main_process', lambda: False)
    train(toy_model, [_hook(force=True)], epochs=1)
    assert 'epoch 1/1' not in capsys.readouterr().err


def test_loops_are_left_as_they_were(toy_model, train, capsys):
    result = train(toy_model, [_hook(force=True)], epochs=1)
    assert 'run' not in result.runner.train_loop.__dict__


@pytest.mark.parametrize(('seconds', 'text'), [(0.4, '0:00'), (75, '1:15'), (3723, '1:02:03')])
def test_format_duration(seconds, text):
    from stn_det.engine.hooks.progress_bar import format_duration

    assert format_duration(seconds) == text

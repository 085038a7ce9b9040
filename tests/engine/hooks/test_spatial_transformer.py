"""Warm-up and guard of spatial transformers."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from stn_det.engine import WarpGuardHook, WarpWarmupHook
from stn_det.errors import ConfigError, WarpCollapseError


class Model(nn.Module):
    """Something with a transformer that can be frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = nn.Identity()
        self.transformer.frozen = False


def _iterate(hook, coverages, scale=1.0):
    for i, coverage in enumerate(coverages):
        outputs = dict(loss=1.0, stn_coverage=torch.tensor(coverage), stn_scale=torch.tensor(scale))
        hook.after_train_iter(SimpleNamespace(iter=i), 0, outputs=outputs)


def test_the_transformer_is_frozen_for_so_many_iterations():
    hook, runner = WarpWarmupHook(iters=3), SimpleNamespace(model=Model(), iter=0)
    hook.before_train(runner)
    frozen = []
    for runner.iter in range(5):
        hook.before_train_iter(runner, 0)
        frozen.append(runner.model.transformer.frozen)
    assert frozen == [True, True, True, False, False]


def test_a_share_is_of_all_iterations():
    hook, runner = WarpWarmupHook(share=0.7), SimpleNamespace(model=Model(), iter=0, max_iters=10)
    hook.before_train(runner)
    frozen = []
    for runner.iter in range(10):
        hook.before_train_iter(runner, 0)
        frozen.append(runner.model.transformer.frozen)
    assert frozen == [True] * 7 + [False] * 3


def test_a_resumed_run_goes_on_where_it_was_and_the_end_releases():
    hook, runner = WarpWarmupHook(iters=10), SimpleNamespace(model=Model(), iter=9)
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    assert runner.model.transformer.frozen
    hook.after_train(runner)
    assert not runner.model.transformer.frozen


def test_validation_sees_the_transformer_and_training_goes_on_without():
    hook, runner = WarpWarmupHook(share=1), SimpleNamespace(model=Model(), iter=4, max_iters=10)
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    hook.before_val_epoch(runner)
    assert not runner.model.transformer.frozen
    hook.before_train_iter(runner, 0)
    assert runner.model.transformer.frozen


def test_a_model_without_transformer_is_refused():
    with pytest.raises(ConfigError, match='Linear has no spatial transformer'):
        WarpWarmupHook(iters=3).before_train(SimpleNamespace(model=nn.Linear(1, 1)))


def test_the_model_inside_a_distributed_wrapper_is_found():
    from mmengine.model import MMDistributedDataParallel

    wrapper = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    nn.Module.__init__(wrapper)
    wrapper.module = Model()
    hook = WarpWarmupHook(iters=3)
    hook.before_train(SimpleNamespace(model=wrapper))
    assert hook.transformer is wrapper.module.transformer


@pytest.fixture
def told(monkeypatch):
    """Messages that were logged."""
    messages = []
    monkeypatch.setattr(
        'stn_det.engine.hooks.spatial_transformer.print_log', lambda message, **_: messages.append(message)
    )
    return messages


def test_a_collapse_is_told_once(told):
    _iterate(WarpGuardHook(min_coverage=0.6, window=10), [1.0] * 20 + [0.3] * 40)
    assert len(told) == 1
    assert 'stn_coverage is 0.' in told[0]
    assert 'lr_mult' in told[0]


def test_every_collapse_is_told(told):
    _iterate(WarpGuardHook(min_coverage=0.6, window=10), ([1.0] * 40 + [0.3] * 40) * 2)
    assert len(told) == 2


def test_one_bad_batch_is_no_collapse(told):
    _iterate(WarpGuardHook(window=50), [1.0] * 60 + [0.0] + [1.0] * 60)
    assert not told


def test_a_collapse_from_the_start_stops_training():
    with pytest.raises(WarpCollapseError, match=r'stn_scale is 0\.200 on average at iteration 19'):
        _iterate(WarpGuardHook(action='raise'), [1.0] * 100, scale=0.2)


def test_other_models_are_left_alone():
    WarpGuardHook(action='raise').after_train_iter(SimpleNamespace(iter=0), 0, outputs=dict(loss=1.0))


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: WarpWarmupHook(iters=-1), 'iters is -1 and share None; expected one of them'),
        (lambda: WarpWarmupHook(), 'expected one of them'),
        (lambda: WarpWarmupHook(iters=1, share=0.5), 'expected one of them'),
        (lambda: WarpWarmupHook(share=1.5), 'a part from 0 to 1'),
        (lambda: WarpGuardHook(action='stop'), "action is 'stop', expected 'warn' or 'raise'"),
        (lambda: WarpGuardHook(scale_range=(2, 1)), r'scale_range \(2, 1\); expected'),
    ],
)
def test_errors(call, message):
    with pytest.raises(ConfigError, match=message):
        call()

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stn_det.errors import ConfigError, NonFiniteLossError


def _hook(**kwargs):
    from stn_det.engine import FiniteLossHook

    return FiniteLossHook(**kwargs)


class TestNames:
    def test_batch_image_names(self):
        from stn_det.engine.hooks.finite_loss import batch_image_names

        samples = [SimpleNamespace(img_path='a.png', img_id=3), SimpleNamespace(img_id=7)]
        assert batch_image_names({'inputs': [torch.zeros(3)], 'data_samples': samples}) == ['a.png', '7']
        assert batch_image_names({'inputs': {}, 'data_samples': {'sup': samples, 'unsup': samples[:1]}}) == [
            'a.png',
            '7',
            'a.png',
        ]
        assert batch_image_names([{'data_samples': samples[0]}]) == ['a.png']
        assert batch_image_names(None) == []

    def test_non_finite_terms(self):
        from stn_det.engine.hooks.finite_loss import non_finite_terms

        nan, one = torch.tensor(float('nan')), torch.tensor(1.0)
        terms = non_finite_terms({'loss_a': [one, nan, -one / 0], 'loss_b': one, 'acc': nan, 'loss_c': one / 0})
        assert list(terms) == ['loss_a[1]', 'loss_a[2]', 'loss_c']
        assert terms['loss_a[2]'] == -float('inf')


class TestRaise:
    def test_names_term_value_iteration_and_images(self, toy_model, train):
        before = toy_model.linear.weight.detach().clone()
        result = train(toy_model, [_hook()], bad=(1,), catch=NonFiniteLossError)
        message = str(result.error)
        assert 'loss_bbox[1] = nan' in message
        assert 'loss_cls' not in message
        assert 'iteration 1 of epoch 1' in message
        assert 'images/P0000.png, images/P0001.png' in message
        assert 'learning rate' in message
        assert torch.equal(toy_model.linear.weight, before)

    def test_stops_at_the_bad_batch_of_a_later_iteration(self, toy_model, train):
        result = train(toy_model, [_hook()], bad=(5,), catch=NonFiniteLossError)
        assert 'iteration 3 of epoch 1' in str(result.error)
        assert 'images/P0004.png, images/P0005.png' in str(result.error)
        assert torch.isfinite(toy_model.linear.weight).all()

    def test_without_the_hook_weights_become_nan(self, toy_model, train):
        train(toy_model, [], bad=(5,))
        assert not torch.isfinite(toy_model.linear.weight).all()

    def test_good_training_is_unchanged_and_guard_is_taken_off(self, toy_model, train):
        import copy

        other = copy.deepcopy(toy_model)
        train(toy_model, [_hook()])
        train(other, [])
        assert torch.equal(toy_model.linear.weight, other.linear.weight)
        assert 'parse_losses' not in toy_model.__dict__

    def test_guard_is_taken_off_after_raising(self, toy_model, train):
        train(toy_model, [_hook()], bad=(0,), catch=NonFiniteLossError)
        assert 'parse_losses' not in toy_model.__dict__

    def test_model_inside_a_distributed_wrapper(self, toy_model):
        from mmengine.model import MMDistributedDataParallel

        wrapper = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
        torch.nn.Module.__init__(wrapper)
        wrapper.module = toy_model
        wrapper.find_unused_parameters = False
        hook = _hook()
        runner = SimpleNamespace(model=wrapper, iter=0, epoch=0)
        hook.before_train(runner)
        with pytest.raises(NonFiniteLossError, match='loss_bbox = inf'):
            toy_model.parse_losses({'loss_bbox': torch.tensor(float('inf'))})


class TestSkip:
    def test_skips_the_batch_and_goes_on(self, toy_model, train):
        hook = _hook(action='skip')
        result = train(toy_model, [hook], bad=(5,))
        assert hook.total_skips == 2
        assert torch.isfinite(toy_model.linear.weight).all()
        assert result.runner.iter == 8
        logged, _ = result.runner.message_hub.get_scalar('train/loss').data
        assert np.isfinite(logged).all()

    def test_skipped_batch_moves_no_weight(self, toy_model, train):
        before = toy_model.linear.weight.detach().clone()
        train(toy_model, [_hook(action='skip', max_skips=10)], bad=(0, 2, 4, 6), epochs=1)
        assert torch.equal(toy_model.linear.weight, before)

    def test_gives_up_after_max_skips_in_a_row(self, toy_model, train, caplog):
        hook = _hook(action='skip', max_skips=2)
        with caplog.at_level(logging.WARNING):
            result = train(toy_model, [hook], bad=(2, 4, 6), catch=NonFiniteLossError)
        assert hook.total_skips == 2
        assert 'iteration 4 of epoch 1, after 2 skipped batches in a row' in str(result.error)

    def test_the_count_starts_again_after_a_good_batch(self, toy_model, train):
        hook = _hook(action='skip', max_skips=1)
        train(toy_model, [hook], bad=(0, 4))
        assert hook.total_skips == 4

    def test_refuses_unused_parameters(self, toy_model):
        from mmengine.model import MMDistributedDataParallel

        wrapper = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
        torch.nn.Module.__init__(wrapper)
        wrapper.module = toy_model
        wrapper.find_unused_parameters = True
        with pytest.raises(ConfigError, match='find_unused_parameters'):
            _hook(action='skip').before_train(SimpleNamespace(model=wrapper))


def test_unknown_action():
    with pytest.raises(ConfigError, match="action is 'ignore'; expected 'raise' or 'skip'"):
        _hook(action='ignore')


def test_built_by_name():
    from mmdet.registry import HOOKS

    from stn_det.engine import FiniteLossHook

    hook = HOOKS.build({'type': 'mmdet.FiniteLossHook', 'action': 'skip'})
    assert isinstance(hook, FiniteLossHook)
    assert hook.action == 'skip'

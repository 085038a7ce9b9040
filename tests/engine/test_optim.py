import pytest
import torch

from stn_det.errors import ConfigError


@pytest.fixture(autouse=True)
def _capable(monkeypatch):
    """Whatever the machine is, its CPU computes in bfloat16."""
    monkeypatch.setattr('stn_det.engine.optim.cpu_computes_bfloat16', lambda: True)


def _wrapper(model, **kwargs):
    from stn_det.engine import AutocastOptimWrapper

    return AutocastOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), **kwargs)


def test_forward_is_bfloat16_and_gradients_are_float32(toy_model):
    wrapper = _wrapper(toy_model)
    with wrapper.optim_context(toy_model):
        losses = toy_model(torch.ones(2, 3), [], mode='loss')
    assert toy_model.seen_dtypes == [torch.bfloat16]
    loss, _ = toy_model.parse_losses(losses)
    wrapper.backward(loss)
    assert toy_model.linear.weight.grad.dtype == torch.float32
    assert toy_model.linear.weight.grad.abs().sum() > 0
    assert not torch.is_autocast_enabled('cpu')


def test_a_cpu_that_only_imitates_bfloat16_stays_in_float32_and_says_so_once(toy_model, monkeypatch):
    monkeypatch.setattr('stn_det.engine.optim.cpu_computes_bfloat16', lambda: False)
    told = []
    monkeypatch.setattr('stn_det.engine.optim.print_log', lambda text, logger: told.append(text))
    wrapper = _wrapper(toy_model)
    for _ in range(2):
        with wrapper.optim_context(toy_model):
            toy_model(torch.ones(2, 3), [], mode='loss')
    assert toy_model.seen_dtypes == [torch.float32] * 2
    assert len(told) == 1
    assert 'stays in float32' in told[0]


def test_what_the_cpu_computes_is_asked_of_pytorch(monkeypatch):
    from stn_det.engine import optim

    monkeypatch.undo()
    assert optim.cpu_computes_bfloat16() is torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if torch.backends.cpu.get_cpu_capability() == 'AVX2':
        assert not optim.cpu_computes_bfloat16()


def test_trains_on_the_cpu_and_close_to_float32(toy_model, train):
    import copy

    other = copy.deepcopy(toy_model)
    start = toy_model.linear.weight.detach().clone()
    train(toy_model, [], optim_wrapper=_wrapper(toy_model))
    train(other, [])
    assert set(toy_model.seen_dtypes) == {torch.bfloat16}
    assert (toy_model.linear.weight - start).abs().max() > 0.01
    torch.testing.assert_close(toy_model.linear.weight, other.linear.weight, atol=5e-3, rtol=2e-2)


def test_accumulates_and_clips(toy_model):
    wrapper = _wrapper(toy_model, accumulative_counts=2, clip_grad={'max_norm': 1e-3})
    start = toy_model.linear.weight.detach().clone()
    for step in range(2):
        with wrapper.optim_context(toy_model):
            losses = toy_model(torch.ones(2, 3), [], mode='loss')
        wrapper.update_params(toy_model.parse_losses(losses)[0])
        moved = (toy_model.linear.weight - start).norm()
        assert (moved > 0) == (step == 1)
    assert moved <= 0.1 * 1e-3 * 1.01


def test_state_round_trip(toy_model):
    wrapper, other = _wrapper(toy_model), _wrapper(toy_model)
    wrapper.optimizer.param_groups[0]['lr'] = 0.03
    other.load_state_dict(wrapper.state_dict())
    assert other.get_lr()['lr'] == [0.03]


def test_built_by_name_in_a_config(toy_model, train):
    config = {'type': 'AutocastOptimWrapper', 'optimizer': {'type': 'SGD', 'lr': 0.1}}
    train(toy_model, [], optim_wrapper=config, default_scope='mmdet', epochs=1)
    assert set(toy_model.seen_dtypes) == {torch.bfloat16}


@pytest.mark.parametrize('dtype', ['float16', torch.float16, 'half'])
def test_float16_is_refused(toy_model, dtype):
    with pytest.raises(ConfigError, match='float16 gradients underflow without a scaler'):
        _wrapper(toy_model, dtype=dtype)


def test_unknown_dtype_is_refused(toy_model):
    with pytest.raises(ConfigError, match="dtype is 'int8'; expected 'bfloat16'"):
        _wrapper(toy_model, dtype='int8')


def test_parts_are_clipped_apart(toy_model):
    toy_model.part = torch.nn.Linear(1, 1, bias=False)
    wrapper = _wrapper(toy_model, clip_grad={'max_norm': 1.0}, clip_apart=('part',))
    with wrapper.optim_context(toy_model):
        pass
    toy_model.part.weight.grad = torch.full((1, 1), 300.0)
    for weight in toy_model.linear.parameters():
        weight.grad = torch.full_like(weight, 0.01)
    before = toy_model.linear.weight.grad.clone()
    wrapper.step()
    assert torch.equal(toy_model.linear.weight.grad, before)
    torch.testing.assert_close(toy_model.part.weight.grad, torch.ones(1, 1), atol=1e-4, rtol=0)
    assert wrapper.message_hub.get_scalar('train/grad_norm_part').current() == 300.0
    assert wrapper.message_hub.get_scalar('train/grad_norm').current() < 0.1


def test_parts_are_found_in_a_model_that_is_wrapped(toy_model):
    from stn_det.engine.optim import _parted

    wrapped = torch.nn.Module()
    wrapped.module = toy_model
    assert [id(weight) for weight in _parted(wrapped, ('linear',))['linear']] == [
        id(weight) for weight in toy_model.linear.parameters()
    ]


def test_a_part_that_the_model_lacks_is_refused(toy_model):
    wrapper = _wrapper(toy_model, clip_grad={'max_norm': 1.0}, clip_apart=('transformer',))
    expected = pytest.raises(ConfigError, match=r"names 'transformer', which holds no weights; the model has .*linear")
    with expected, wrapper.optim_context(toy_model):
        pass


def test_clipping_apart_without_clipping_is_refused(toy_model):
    with pytest.raises(ConfigError, match=r"clip_apart is \('part',\) without clip_grad"):
        _wrapper(toy_model, clip_apart=('part',))

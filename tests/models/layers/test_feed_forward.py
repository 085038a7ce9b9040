"""The feed-forward network of transformer layers: nothing is overwritten, nothing else changes."""

import torch
from mmcv.cnn.bricks.transformer import FFN

from stn_det.models.layers.feed_forward import feed_forward

CONFIG = dict(embed_dims=8, feedforward_channels=16, num_fcs=2, ffn_drop=0.0)


def steps_of(result: torch.Tensor) -> set[str]:
    """Names of all steps of a backward pass."""
    names, waiting = set(), [result.grad_fn]
    while waiting:
        step = waiting.pop()
        names.add(step.name())
        waiting += [following for following, _ in step.next_functions if following is not None]
    return names


def gradients(network: FFN, tokens: torch.Tensor) -> list[torch.Tensor]:
    network.zero_grad()
    network(tokens).square().sum().backward()
    return [weight.grad.clone() for weight in network.parameters()]


def test_backward_copies_no_gradient_into_a_view() -> None:
    tokens = torch.randn(2, 5, 8)
    copy = 'torch::autograd::CopySlices'
    assert copy in steps_of(FFN(**CONFIG)(tokens))  # mmcv's default, which this test would otherwise miss
    assert copy not in steps_of(feed_forward(CONFIG)(tokens))


def test_results_and_gradients_are_those_of_mmcv() -> None:
    ours, theirs = feed_forward(CONFIG), FFN(**CONFIG)
    theirs.load_state_dict(ours.state_dict())
    tokens = torch.randn(2, 5, 8)
    assert torch.equal(ours(tokens), theirs(tokens))
    assert all(map(torch.equal, gradients(ours, tokens), gradients(theirs, tokens)))


def test_an_activation_that_is_given_is_kept() -> None:
    network = feed_forward({**CONFIG, 'act_cfg': dict(type='ReLU', inplace=True)})
    assert [part.inplace for part in network.modules() if isinstance(part, torch.nn.ReLU)] == [True]

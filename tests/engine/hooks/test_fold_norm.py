from types import SimpleNamespace

import pytest
import torch
from mmcv.cnn import ConvModule
from torch import nn

import stn_det.register  # noqa: F401
from stn_det.engine import FoldNormHook


@pytest.fixture
def block():
    block = ConvModule(3, 4, 3, padding=1, norm_cfg=dict(type='BN'))
    with torch.no_grad():
        block.norm.running_mean.uniform_(-1, 1)
        block.norm.running_var.uniform_(0.5, 2)
        block.norm.weight.uniform_(-2, 2)
        block.norm.bias.uniform_(-1, 1)
    return block.double().eval()


def fold(*modules):
    FoldNormHook().before_run(SimpleNamespace(model=nn.ModuleList(modules)))


def results(block, image):
    block.zero_grad()
    output = block(image)
    (output * torch.arange(output.numel()).reshape(output.shape)).sum().backward()
    return output.detach(), {name: value.grad.clone() for name, value in block.named_parameters()}


def test_values_and_gradients_stay_and_the_norm_is_not_called(block):
    image = torch.randn(2, 3, 7, 5, dtype=torch.float64)
    output, gradients = results(block, image)
    fold(block)
    calls = []
    block.norm.register_forward_hook(lambda *_: calls.append(1))
    folded_output, folded_gradients = results(block, image)
    assert not calls
    torch.testing.assert_close(folded_output, output)
    assert folded_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(folded_gradients[name], gradient, msg=name)


def test_a_norm_in_training_mode_keeps_its_batch_statistics(block):
    fold(block)
    block.train()
    before = block.norm.running_mean.clone()
    image = torch.randn(2, 3, 7, 5, dtype=torch.float64)
    output = block(image)
    assert not torch.equal(block.norm.running_mean, before)
    convolved = nn.functional.conv2d(image, block.conv.weight, padding=1)
    expected = nn.functional.batch_norm(
        convolved, None, None, block.norm.weight, block.norm.bias, training=True, eps=block.norm.eps
    )
    torch.testing.assert_close(output, expected.relu())


def test_checkpoints_do_not_change(block):
    before = block.state_dict()
    fold(block)
    assert block.state_dict().keys() == before.keys()


def test_blocks_without_batch_norm_are_left_alone():
    plain, grouped = ConvModule(3, 4, 1), ConvModule(3, 4, 1, norm_cfg=dict(type='GN', num_groups=2))
    image = torch.randn(1, 3, 4, 4)
    expected = plain(image), grouped(image)
    fold(plain, grouped)
    torch.testing.assert_close((plain(image), grouped(image)), expected)


def test_deformable_convolutions_are_left_alone():
    block = ConvModule(3, 4, 3, padding=1, conv_cfg=dict(type='DCNv2'), norm_cfg=dict(type='BN')).eval()
    image = torch.randn(1, 3, 6, 6)
    expected = block(image)
    fold(block)
    torch.testing.assert_close(block(image), expected)

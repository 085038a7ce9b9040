"""Two branches are one convolution in evaluation: values, gradients, and what is left alone."""

import copy

import pytest
import torch
import torch.nn.functional as F

from stn_det.models.layers import RepVGGBlock


@pytest.fixture
def block() -> RepVGGBlock:
    """A block in float64 whose norms are far from the identity."""
    block = RepVGGBlock(3, 4, norm_cfg=dict(type='BN'), act_cfg=dict(type='SiLU'))
    with torch.no_grad():
        for branch in (block.wide, block.narrow):
            branch.norm.running_mean.uniform_(-1, 1)
            branch.norm.running_var.uniform_(0.5, 2)
            branch.norm.weight.uniform_(-2, 2)
            branch.norm.bias.uniform_(-1, 1)
    return block.double()


def results(block: RepVGGBlock, image: torch.Tensor, folded: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Output, and gradients to all weights and the image, by one convolution or by the two branches."""
    image = image.clone().requires_grad_()
    output = block(image) if folded else F.silu(block.wide(image) + block.narrow(image))
    loss = (output * torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)).sum()
    return output.detach(), list(torch.autograd.grad(loss, [image, *block.parameters()]))


def test_one_convolution_gives_values_and_gradients_of_two(block: RepVGGBlock) -> None:
    block.eval()
    image = torch.randn(2, 3, 7, 5, dtype=torch.float64)
    expected = results(block, image, folded=False)
    for branch in (block.wide, block.narrow):
        branch.forward = None  # a call would fail
    output, gradients = results(block, image, folded=True)
    torch.testing.assert_close(output, expected[0])
    torch.testing.assert_close(gradients, expected[1])


def test_folded_weights_by_hand() -> None:
    """One channel: 3x3 of ones scaled by 2 / sqrt(4), 1x1 of 5 scaled by 3 / sqrt(9); means 1 and 2, biases 7 and 0."""
    block = RepVGGBlock(1, 1, norm_cfg=dict(type='BN', eps=0.0)).eval()
    values = ((block.wide, 1.0, 2.0, 7.0, 1.0, 4.0), (block.narrow, 5.0, 3.0, 0.0, 2.0, 9.0))
    for branch, weight, scale, bias, mean, variance in values:
        branch.conv.weight.data.fill_(weight)
        branch.norm.weight.data.fill_(scale)
        branch.norm.bias.data.fill_(bias)
        branch.norm.running_mean.fill_(mean)
        branch.norm.running_var.fill_(variance)
    weight, bias = block.folded()
    assert weight.tolist() == [[[[1, 1, 1], [1, 6, 1], [1, 1, 1]]]]
    assert bias.tolist() == [4.0]  # 7 - 1 * 1 and 0 - 2 * 1


def test_training_uses_and_moves_batch_statistics(block: RepVGGBlock) -> None:
    image = torch.randn(2, 3, 7, 5, dtype=torch.float64)
    before = block.wide.norm.running_mean.clone()
    assert not block.foldable
    output = block(image)
    assert not torch.equal(block.wide.norm.running_mean, before)
    branches = [
        F.batch_norm(
            F.conv2d(image, branch.conv.weight, padding=branch.conv.padding),
            None,
            None,
            branch.norm.weight,
            branch.norm.bias,
            training=True,
            eps=branch.norm.eps,
        )
        for branch in (block.wide, block.narrow)
    ]
    torch.testing.assert_close(output, F.silu(branches[0] + branches[1]))


def test_fixed_norms_are_folded_in_training_too(block: RepVGGBlock) -> None:
    block.train()
    block.wide.norm.eval()
    assert not block.foldable
    block.narrow.norm.eval()
    assert block.foldable


@pytest.mark.parametrize(
    'norm_cfg',
    [dict(type='GN', num_groups=2), dict(type='BN', affine=False), dict(type='BN', track_running_stats=False)],
)
def test_other_norms(norm_cfg: dict) -> None:
    block = RepVGGBlock(4, 4, norm_cfg=norm_cfg).double().eval()
    image = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    assert block.foldable == (norm_cfg == dict(type='BN', affine=False))
    torch.testing.assert_close(block(image), block.wide(image) + block.narrow(image))


def test_the_state_is_the_same_in_training_and_evaluation(block: RepVGGBlock) -> None:
    before = copy.deepcopy(block.state_dict())
    block.eval()(torch.randn(1, 3, 5, 5, dtype=torch.float64))
    after = block.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())

"""The layer of deformable convolution v4: how it starts, what its numbers mean, what it refuses."""

import doctest
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stn_det.errors import InputError
from stn_det.ops.modules import DeformConv2dV4Pack


def between_projections(layer: DeformConv2dV4Pack, window_sum) -> None:
    """Replace both projections by the identity, so that the sampling is all that is left, and run the layer."""
    for projection in (layer.value_proj, layer.output_proj):
        torch.nn.init.dirac_(projection.weight, groups=layer.groups)
        torch.nn.init.zeros_(projection.bias)
    x = torch.randn(2, layer.in_channels, 9, 11)
    torch.testing.assert_close(layer(x), window_sum(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ('kernel', 'stride', 'padding', 'dilation'), [(3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 2, 2), ((1, 5), 1, (0, 2), 1)]
)
def test_it_starts_as_a_mean_over_the_window(kernel, stride: int, padding, dilation: int) -> None:
    layer = DeformConv2dV4Pack(8, 8, kernel, stride, padding, dilation, deform_groups=2)
    points = layer.kernel_size[0] * layer.kernel_size[1]
    mean = torch.full((8, 1, *layer.kernel_size), 1 / points)
    between_projections(layer, lambda x: F.conv2d(x, mean, None, stride, padding, dilation, groups=8))


def test_without_the_centre_it_starts_as_a_mean_over_the_ring() -> None:
    ring = torch.full((4, 1, 3, 3), 1 / 8)
    ring[:, :, 1, 1] = 0
    layer = DeformConv2dV4Pack(4, 4, 3, padding=1, deform_groups=4, remove_center=True)
    between_projections(layer, lambda x: F.conv2d(x, ring, None, padding=1, groups=4))


def test_offsets_of_a_group_move_its_channels_only() -> None:
    layer = DeformConv2dV4Pack(4, 4, 1, deform_groups=2)
    with torch.no_grad():
        layer.offset_mask.bias[3:5] = torch.tensor([2.0, -1.0])  # of the second group: dx, dy

    def moved(x: Tensor) -> Tensor:
        expected = x.clone()
        expected[:, 2:] = 0
        expected[:, 2:, 1:, :-2] = x[:, 2:, :-1, 2:]  # pixel (i, j) reads (i - 1, j + 2)
        return expected

    between_projections(layer, moved)


def test_grouped_projections_keep_groups_apart() -> None:
    layer = DeformConv2dV4Pack(8, 4, 3, padding=1, groups=2, deform_groups=2)
    x = torch.randn(1, 8, 5, 5)
    other = x.clone()
    other[:, 4:] = 0
    assert torch.equal(layer(x)[:, :2], layer(other)[:, :2])
    assert not torch.equal(layer(x)[:, 2:], layer(other)[:, 2:])


def test_everything_learns_after_the_first_step() -> None:
    layer = DeformConv2dV4Pack(4, 6, 3, padding=1, deform_groups=2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(2):  # the depthwise convolution stands behind a layer of zeros in the first step
        optimizer.zero_grad()
        layer(torch.randn(2, 4, 8, 8)).square().mean().backward()
        optimizer.step()
    assert all(parameter.grad.abs().sum() > 0 for parameter in layer.parameters())


def test_gradient_by_finite_differences() -> None:
    layer = DeformConv2dV4Pack(4, 2, 3, stride=2, padding=1, deform_groups=2).double()
    torch.nn.init.normal_(layer.offset_mask.weight, std=0.05)
    torch.nn.init.constant_(layer.offset_mask.bias, 0.3)  # between pixels, where bilinear sampling is smooth
    x = (0.1 * torch.randn(1, 4, 5, 5, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))


def test_offsets_stay_in_single_precision_under_autocast() -> None:
    layer = DeformConv2dV4Pack(4, 4, 3, padding=1)
    seen: list[torch.dtype] = []
    layer.offset_mask.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        result = layer(torch.randn(1, 4, 6, 6))
    assert seen == [torch.float32]
    assert result.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (dict(deform_groups=3), 'deform_groups is 3, expected a positive divisor of the channels, here 8 in and 6 out'),
        (dict(groups=4), 'groups is 4, expected a positive divisor'),
        (dict(kernel_size=2, remove_center=True), 'expected a square, odd window'),
        (dict(stride=1.5), 'stride is 1.5, expected an int or a pair'),
    ],
)
def test_settings_without_a_meaning_are_refused(options: dict, match: str) -> None:
    with pytest.raises(InputError, match=match):
        DeformConv2dV4Pack(**{**dict(in_channels=8, out_channels=6, kernel_size=3), **options})


def test_the_example_holds() -> None:
    result = doctest.testmod(sys.modules['stn_det.ops.modules.deform_conv_v4'])
    assert result.attempted > 0
    assert result.failed == 0

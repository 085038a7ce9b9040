"""Deformable, masked and rotated convolution through mmcv's public wrappers."""

import mmcv.ops
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck


def test_deformable_convolution_without_offset_is_convolution() -> None:
    layer = mmcv.ops.DeformConv2dPack(4, 6, 3, stride=2, padding=1, dilation=1, groups=2, deform_groups=2)
    x = torch.randn(2, 4, 9, 10, requires_grad=True)
    expected = F.conv2d(x, layer.weight, stride=2, padding=1, groups=2)
    result = layer(x)  # the layer starts with offsets of zero
    torch.testing.assert_close(result, expected)
    seed = torch.randn_like(result)
    grads = torch.autograd.grad(result, (x, layer.weight), seed)
    for grad, known in zip(grads, torch.autograd.grad(expected, (x, layer.weight), seed)):
        torch.testing.assert_close(grad, known, atol=1e-5, rtol=1e-4)


def test_modulated_convolution_starts_as_half_a_convolution() -> None:
    layer = mmcv.ops.ModulatedDeformConv2dPack(4, 6, 3, padding=1, deform_groups=1, bias=True)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 4, 7, 8)
    expected = 0.5 * F.conv2d(x, layer.weight, padding=1) + layer.bias.view(1, -1, 1, 1)  # masks start at sigmoid(0)
    torch.testing.assert_close(layer(x), expected)
    layer(x).sum().backward()
    torch.testing.assert_close(layer.bias.grad, torch.full((6,), 2.0 * 7 * 8))
    assert layer.conv_offset.weight.grad.abs().sum() > 0


def test_offsets_are_dy_dx_per_kernel_point() -> None:
    """A whole-pixel offset of one kernel point moves that point alone."""
    x = torch.randn(1, 1, 9, 9)
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 0, 2] = 1.0  # kernel point 2: one up, one right
    offset = torch.zeros(1, 18, 9, 9)
    offset[:, 2 * 2] = 3.0  # dy
    offset[:, 2 * 2 + 1] = -2.0  # dx
    result = mmcv.ops.deform_conv2d(x, offset, weight, 1, 1)
    expected = torch.zeros_like(x)
    expected[0, 0, :7, 1:] = x[0, 0, 2:, :8]  # (y, x) reads (y - 1 + 3, x + 1 - 2), zero outside
    torch.testing.assert_close(result, expected)


def offsets_away_from_pixels(*shape: int) -> Tensor:
    """Offsets whose fractions lie in [0.2, 0.8], where bilinear sampling is smooth."""
    return torch.randint(-2, 2, shape).double() + 0.2 + 0.6 * torch.rand(shape, dtype=torch.float64)


def test_deformable_convolution_gradients() -> None:
    x = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    offset = offsets_away_from_pixels(2, 2 * 8, 3, 4).requires_grad_()
    weight = torch.randn(2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda a, b, c: mmcv.ops.deform_conv2d(a, b, c, 1, 0, 1, 2, 2), (x, offset, weight))


@pytest.mark.parametrize('with_bias', [True, False])
def test_modulated_convolution_gradients(with_bias: bool) -> None:
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    offset = offsets_away_from_pixels(1, 8, 2, 3).requires_grad_()
    mask = torch.rand(1, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True) if with_bias else None

    def convolve(*tensors: Tensor) -> Tensor:
        return mmcv.ops.modulated_deform_conv2d(*tensors[:4], bias, 2, 1, 2, 1, 1)

    assert gradcheck(convolve, (x, offset, mask, weight, *([bias] if with_bias else [])))


def test_masked_convolution_computes_the_masked_pixels_only() -> None:
    layer = mmcv.ops.MaskedConv2d(3, 5, (3, 5), padding=(1, 2))
    x = torch.randn(1, 3, 8, 9)
    mask = (torch.rand(1, 8, 9) > 0.6).float()
    with torch.no_grad():
        torch.testing.assert_close(
            layer(x, mask), F.conv2d(x, layer.weight, layer.bias, padding=(1, 2)) * mask[:, None]
        )
        assert not layer(x, torch.zeros_like(mask)).any()


def test_active_rotated_filter() -> None:
    filters = torch.randn(3, 2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    indices = torch.stack([torch.randperm(36) + 1 for _ in range(8)], 1).view(4, 3, 3, 8).int()
    result = mmcv.ops.active_rotated_filter(filters, indices)
    assert result.shape == (3 * 8, 2 * 4, 3, 3)
    copies = result.view(3, 8, 2, 36)
    for rotation in range(8):
        placed = copies[:, rotation][..., indices.view(36, 8)[:, rotation].long() - 1]
        torch.testing.assert_close(placed, filters.view(3, 2, 36))
    assert gradcheck(lambda a: mmcv.ops.active_rotated_filter(a, indices), (filters,))

"""Deformable convolution against a plain loop and the ordinary convolution."""

import math

import pytest
import torch
import torch.nn.functional as F

from stn_det.errors import InputError
from stn_det.ops import deform_conv2d
from stn_det.ops.deform_conv2d import deform_conv2d_backward

pytestmark = pytest.mark.usefixtures('implementation')


def plain_deform_conv(oracle, x, offset, weight, mask, stride, padding, dilation, groups, offset_groups):
    batch, _, height, width = offset.shape
    outputs, per_group, kh, kw = weight.shape
    channels = x.shape[1]
    planes = x.tolist()
    out = torch.zeros(batch, outputs, height, width, dtype=torch.float64)
    for n in range(batch):
        for i in range(height):
            for j in range(width):
                columns = torch.zeros(channels, kh, kw, dtype=torch.float64)
                for c in range(channels):
                    for a in range(kh):
                        for b in range(kw):
                            k = (c // (channels // offset_groups) * kh + a) * kw + b
                            y = i * stride[0] - padding[0] + a * dilation[0] + offset[n, 2 * k, i, j].item()
                            z = j * stride[1] - padding[1] + b * dilation[1] + offset[n, 2 * k + 1, i, j].item()
                            value = oracle.bilinear(planes[n][c], y, z, zero_border=True)
                            columns[c, a, b] = value * (1 if mask is None else mask[n, k, i, j].item())
                for o in range(outputs):
                    group = o // (outputs // groups)
                    out[n, o, i, j] = (columns[group * per_group : (group + 1) * per_group] * weight[o]).sum()
    return out


@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize(
    ('stride', 'padding', 'dilation', 'groups', 'offset_groups'),
    [((1, 1), (1, 1), (1, 1), 1, 1), ((2, 1), (1, 2), (1, 2), 2, 1), ((1, 2), (0, 1), (2, 1), 1, 2)],
)
def test_matches_a_plain_loop(oracle, masked, stride, padding, dilation, groups, offset_groups) -> None:
    x, weight = torch.randn(2, 4, 6, 7, dtype=torch.float64), torch.randn(4, 4 // groups, 3, 2, dtype=torch.float64)
    size = F.conv2d(x, weight, None, stride, padding, dilation, groups).shape[2:]
    offset = 1.5 * torch.randn(2, offset_groups * 12, *size, dtype=torch.float64)
    mask = torch.rand(2, offset_groups * 6, *size, dtype=torch.float64) if masked else None
    values = deform_conv2d(x, offset, weight, None, stride, padding, dilation, mask, groups, offset_groups)
    expected = plain_deform_conv(oracle, x, offset, weight, mask, stride, padding, dilation, groups, offset_groups)
    torch.testing.assert_close(values, expected, atol=1e-11, rtol=0)


@pytest.mark.parametrize('groups', [1, 2, 4])
def test_zero_offsets_are_an_ordinary_convolution(groups: int) -> None:
    x, weight, bias = torch.randn(2, 8, 9, 10), torch.randn(12, 8 // groups, 3, 3), torch.randn(12)
    expected = F.conv2d(x, weight, bias, 2, 1, 2, groups)
    offset = torch.zeros(2, 2 * 9 * 2, *expected.shape[2:])
    values = deform_conv2d(x, offset, weight, bias, 2, 1, 2, None, groups, offset_groups=2)
    torch.testing.assert_close(values, expected, atol=1e-4, rtol=1e-4)


def test_first_offset_is_vertical() -> None:
    x = torch.arange(25.0).view(1, 1, 5, 5)
    offset = torch.zeros(1, 2, 5, 5)
    offset[:, 0] = 1
    down = deform_conv2d(x, offset, torch.ones(1, 1, 1, 1))
    assert torch.equal(down[0, 0, :4], x[0, 0, 1:])
    assert down[0, 0, 4].abs().sum() == 0


def test_gradcheck() -> None:
    x = torch.randn(1, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    offset = torch.randn(1, 24, 4, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(1, 12, 4, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *t: deform_conv2d(t[0], t[1], t[2], t[3], 1, 1, 1, t[4], 2, 2),
        (x, offset, weight, bias, mask),
        nondet_tol=1e-12,  # on a GPU sums of the gradient of the input are in any order
    )


@pytest.mark.parametrize('needed', [(1, 1, 1, 1), (1, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, 0, 0, 0)])
@pytest.mark.parametrize('masked', [True, False])
def test_backward_without_a_graph(needed, masked) -> None:
    tensors = [torch.randn(shape) for shape in ((2, 4, 5, 6), (2, 16, 3, 5), (6, 2, 2, 2), (2, 8, 3, 5))]
    leaves = [tensor.requires_grad_() for tensor in tensors[: 3 + masked]]
    x, offset, weight, mask = leaves if masked else (*leaves, None)
    layer = dict(stride=(2, 1), padding=(1, 0), dilation=(2, 1), groups=2, offset_groups=2)
    output = deform_conv2d(x, offset, weight, mask=mask, **layer)
    grad = torch.randn_like(output)
    wanted = torch.autograd.grad(output, leaves, grad)
    found = deform_conv2d_backward(grad, x, offset, weight, mask, **layer, needed=needed)
    assert [part is not None for part in found] == [bool(need) and k < len(leaves) for k, need in enumerate(needed)]
    for one, other in zip(found, wanted):
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_nan_offset_reads_zero() -> None:
    offset = torch.full((1, 2, 3, 3), math.nan, requires_grad=True)
    values = deform_conv2d(torch.ones(1, 1, 3, 3), offset, torch.ones(1, 1, 1, 1))
    values.sum().backward()
    assert values.abs().sum() == 0
    assert offset.grad.abs().sum() == 0


def test_half_autocast_layout_and_empty_batch() -> None:
    x, weight, offset = torch.randn(1, 4, 6, 6), torch.randn(3, 4, 3, 3), torch.randn(1, 18, 6, 6)
    expected = deform_conv2d(x, offset, weight, padding=1)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(deform_conv2d(x, offset, weight, padding=1), expected)
    nhwc = deform_conv2d(x.to(memory_format=torch.channels_last), offset, weight, padding=1)
    torch.testing.assert_close(nhwc, expected)
    half = deform_conv2d(x.bfloat16(), offset, weight.bfloat16(), padding=1)
    assert half.dtype == torch.bfloat16
    rounded = deform_conv2d(x.bfloat16().float(), offset, weight.bfloat16().float(), padding=1)
    assert torch.equal(half, rounded.bfloat16())
    assert deform_conv2d(x[:0], offset[:0], weight, padding=1).shape == (0, 3, 6, 6)


def test_errors() -> None:
    x, weight, offset = torch.zeros(1, 4, 6, 6), torch.zeros(2, 4, 3, 3), torch.zeros(1, 18, 6, 6)
    with pytest.raises(InputError, match=r'offset has shape \(1, 18, 6, 6\), expected \(1, 18, 4, 4\)'):
        deform_conv2d(x, offset, weight)
    with pytest.raises(InputError, match=r'weight has shape \(2, 4, 3, 3\), expected \(O, 2, kh, kw\)'):
        deform_conv2d(x, offset, weight, padding=1, groups=2)
    with pytest.raises(InputError, match='offset_groups is 3, expected a positive divisor of the 4 channels'):
        deform_conv2d(x, offset, weight, padding=1, offset_groups=3)
    with pytest.raises(InputError, match=r'mask has shape \(1, 1, 6, 6\), expected \(1, 9, 6, 6\)'):
        deform_conv2d(x, offset, weight, padding=1, mask=torch.zeros(1, 1, 6, 6))
    with pytest.raises(InputError, match='is smaller than the kernel'):
        deform_conv2d(x[..., :2], offset, weight)
    with pytest.raises(InputError, match=r"stride is '2', expected an int or a pair"):
        deform_conv2d(x, offset, weight, stride='2')
    with pytest.raises(InputError, match=r'bias has shape \(3,\), expected \(2,\)'):
        deform_conv2d(x, offset, weight, torch.zeros(3), padding=1)

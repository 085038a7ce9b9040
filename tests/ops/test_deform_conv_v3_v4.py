"""Deformable convolution v3 and v4 against a loop over output pixels, groups and kernel points."""

import math

import pytest
import torch
import torch.nn.functional as F

from stn_det.errors import InputError
from stn_det.ops import deform_conv_v3, deform_conv_v4
from stn_det.ops.deform_conv_v4 import packed_channels

pytestmark = pytest.mark.usefixtures('implementation')


def plain_v3(oracle, x, offset, mask, kernel, stride, padding, dilation, groups, scale, remove_center):
    """The definition, with the input padded by zeros and coordinates in the padded map, as InternImage writes it."""
    padded = F.pad(x, (0, 0, padding[1], padding[1], padding[0], padding[0]))
    planes = padded.permute(0, 3, 1, 2).tolist()
    batch, height, width, _ = mask.shape
    depth, points = x.shape[3] // groups, mask.shape[3] // groups
    reach = [dilation[k] * (kernel[k] - 1) // 2 for k in range(2)]
    out = torch.zeros(batch, height, width, x.shape[3], dtype=torch.float64)
    for n in range(batch):
        for i in range(height):
            for j in range(width):
                for g in range(groups):
                    point = g * points
                    for a in range(kernel[1]):  # columns of the window first
                        for b in range(kernel[0]):
                            if remove_center and (b, a) == (kernel[0] // 2, kernel[1] // 2):
                                continue
                            dx, dy = offset[n, i, j, 2 * point : 2 * point + 2].tolist()
                            column = reach[1] + j * stride[1] + (a * dilation[1] - reach[1] + dx) * scale
                            row = reach[0] + i * stride[0] + (b * dilation[0] - reach[0] + dy) * scale
                            for c in range(g * depth, (g + 1) * depth):
                                value = oracle.bilinear(planes[n][c], row, column, zero_border=True)
                                out[n, i, j, c] += mask[n, i, j, point].item() * value
                            point += 1
    return out


def inputs(kernel, stride, padding, dilation, groups, remove_center, batch=2, depth=2, dtype=torch.float64):
    x = torch.randn(batch, 5, 6, groups * depth, dtype=dtype)
    size = [(x.shape[1 + k] + 2 * padding[k] - dilation[k] * (kernel[k] - 1) - 1) // stride[k] + 1 for k in range(2)]
    points = groups * (kernel[0] * kernel[1] - remove_center)
    offset = torch.randn(batch, *size, 2 * points, dtype=dtype)
    return x, offset, torch.rand(batch, *size, points, dtype=dtype)


def pack(offset, mask, groups):
    """Offsets and weights as v4 takes them; what is beyond them is NaN, because it must not be read."""
    parts = [offset.unflatten(-1, (groups, -1)), mask.unflatten(-1, (groups, -1))]
    packed = torch.cat(parts, -1).flatten(3)
    channels = packed_channels(mask.shape[-1])
    return F.pad(packed, (0, channels - packed.shape[-1]), value=math.nan)


CASES = [
    ((3, 3), (1, 1), (1, 1), (1, 1), 2, 1.0, False),
    ((3, 3), (1, 1), (1, 1), (1, 1), 2, 1.0, True),
    ((3, 2), (2, 1), (0, 2), (1, 2), 1, 1.0, False),  # a window that is neither square nor odd
    ((3, 3), (1, 2), (2, 2), (2, 2), 3, 0.7, True),
    ((1, 4), (1, 1), (1, 2), (1, 1), 2, 2.0, False),
]


@pytest.mark.parametrize(('kernel', 'stride', 'padding', 'dilation', 'groups', 'scale', 'remove_center'), CASES)
def test_match_a_plain_loop(oracle, kernel, stride, padding, dilation, groups, scale, remove_center) -> None:
    x, offset, mask = inputs(kernel, stride, padding, dilation, groups, remove_center)
    options = (kernel, stride, padding, dilation, groups, scale, remove_center)
    expected = plain_v3(oracle, x, offset, mask, *options)
    torch.testing.assert_close(deform_conv_v3(x, offset, mask, *options), expected, atol=1e-12, rtol=0)
    packed = pack(offset, mask, groups)
    torch.testing.assert_close(deform_conv_v4(x, packed, *options), expected, atol=1e-12, rtol=0)


def test_offsets_are_x_y_and_points_run_down_the_columns() -> None:
    x = torch.arange(30.0).view(1, 5, 6, 1)
    offset, mask = torch.zeros(1, 3, 4, 18), torch.zeros(1, 3, 4, 9)
    mask[..., 1] = 1  # left column, middle row
    offset[..., 2] = 2  # its x
    torch.testing.assert_close(deform_conv_v3(x, offset, mask, 3), x[:, 1:4, 2:6], atol=1e-4, rtol=0)
    torch.testing.assert_close(deform_conv_v4(x, pack(offset, mask, 1), 3), x[:, 1:4, 2:6], atol=1e-4, rtol=0)


def test_without_offsets_a_depthwise_convolution_with_the_weights_of_the_mask() -> None:
    x, kernel = torch.randn(2, 6, 7, 8), torch.randn(4, 9)
    mask = kernel.flatten().expand(2, 6, 7, 36)
    found = deform_conv_v3(x, torch.zeros(2, 6, 7, 72), mask, 3, padding=1, groups=4)
    weight = kernel.view(4, 3, 3).transpose(1, 2).repeat_interleave(2, 0)[:, None]
    expected = F.conv2d(x.permute(0, 3, 1, 2), weight, padding=1, groups=8).permute(0, 2, 3, 1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('remove_center', [False, True])
@pytest.mark.usefixtures('deterministic')
def test_gradcheck(remove_center) -> None:
    geometry = ((3, 3), (2, 1), (1, 1), (1, 1), 2)
    leaves = [part.requires_grad_() for part in inputs(*geometry, remove_center, batch=1)]
    options = (*geometry, 0.8, remove_center)
    assert torch.autograd.gradcheck(lambda *t: deform_conv_v3(*t, *options), leaves, fast_mode=True)
    x, packed = leaves[0], pack(leaves[1], leaves[2], 2).detach().nan_to_num(0).requires_grad_()
    assert torch.autograd.gradcheck(lambda *t: deform_conv_v4(*t, *options), (x, packed), fast_mode=True)


@pytest.mark.parametrize(('batch', 'groups', 'depth'), [(2, 1, 3), (3, 7, 1), (1, 4, 5), (5, 2, 16)])
def test_any_batch_groups_and_channels(batch, groups, depth) -> None:
    """DCNv4 issues 5, 13 and 87: tails of queries, other than 4 or 9 points, more than one image."""
    geometry = ((1, 2), (1, 1), (0, 0), (1, 1), groups)
    x, offset, mask = inputs(*geometry, False, batch, depth)
    packed = pack(offset, mask, groups)
    together = deform_conv_v4(x, packed, *geometry)
    for n in range(batch):
        alone = deform_conv_v4(x[n : n + 1], packed[n : n + 1], *geometry)
        torch.testing.assert_close(together[n : n + 1], alone, atol=1e-13, rtol=0)


def test_packed_channels() -> None:
    assert [packed_channels(points) for points in (1, 8, 9, 36)] == [8, 24, 32, 112]


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
def test_wild_offsets_read_zero(bad) -> None:
    x, offset, mask = inputs((3, 3), (1, 1), (1, 1), (1, 1), 2, False, dtype=torch.float32)
    assert not deform_conv_v3(x, torch.full_like(offset, bad), mask, 3, 1, 1, groups=2).any()


def test_dtypes_and_empty_batch() -> None:
    x, offset, mask = inputs((3, 3), (1, 1), (1, 1), (1, 1), 2, False, dtype=torch.float32)
    half = deform_conv_v3(x.bfloat16(), offset, mask, 3, 1, 1, groups=2)
    assert half.dtype == torch.bfloat16
    wide = deform_conv_v3(x.bfloat16().float(), offset, mask, 3, 1, 1, groups=2)
    torch.testing.assert_close(half.float(), wide, atol=2**-8 * wide.abs().max().item(), rtol=0)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = deform_conv_v3(x, offset, mask, 3, 1, 1, groups=2)
    assert torch.equal(mixed, deform_conv_v3(x, offset, mask, 3, 1, 1, groups=2))
    assert deform_conv_v3(x[:0], offset[:0], mask[:0], 3, 1, 1, groups=2).shape == (0, 5, 6, 4)


def test_compiles_whole() -> None:
    x, offset, mask = inputs((3, 3), (1, 1), (1, 1), (1, 1), 2, True, dtype=torch.float32)
    options = (3, 1, 1, 1, 2, 1.0, True)
    v3 = torch.compile(lambda *t: deform_conv_v3(*t, *options), fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(v3(x, offset, mask), deform_conv_v3(x, offset, mask, *options))
    packed = pack(offset, mask, 2).nan_to_num(0)
    v4 = torch.compile(lambda *t: deform_conv_v4(*t, *options), fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(v4(x, packed), deform_conv_v4(x, packed, *options))


def test_errors() -> None:
    x, offset, mask = inputs((3, 3), (1, 1), (1, 1), (1, 1), 2, False)
    with pytest.raises(InputError, match=r'offset has shape \(2, 5, 6, 36\), expected \(2, 3, 4, 36\)'):
        deform_conv_v3(x, offset, mask, 3, groups=2)
    with pytest.raises(InputError, match=r'mask has shape \(2, 5, 6, 17\), expected \(2, 5, 6, 18\)'):
        deform_conv_v3(x, offset, mask[..., 1:], 3, padding=1, groups=2)
    with pytest.raises(InputError, match='groups is 3, expected a positive divisor of the 4 channels'):
        deform_conv_v3(x, offset, mask, 3, groups=3)
    with pytest.raises(InputError, match=r'kernel_size is \(3, 2\), expected a square, odd window'):
        deform_conv_v3(x, offset, mask, (3, 2), groups=2, remove_center=True)
    with pytest.raises(InputError, match='is smaller than the window'):
        deform_conv_v3(x[:, :2], offset, mask, 3, groups=2)
    with pytest.raises(InputError, match=r'offset_mask has shape \(2, 5, 6, 54\), expected \(2, 5, 6, 56\)'):
        deform_conv_v4(x, torch.cat([offset, mask], -1), 3, padding=1, groups=2)

"""Multi-scale deformable attention against a plain loop."""

import math

import pytest
import torch
import torch.nn.functional as F

from stn_det.errors import InputError
from stn_det.ops import ms_deform_attn

SHAPES = [(4, 5), (2, 3), (1, 1)]

pytestmark = pytest.mark.usefixtures('implementation')


def inputs(dtype=torch.float64, batch=2, queries=5, heads=2, channels=3, points=2, spread=1.4):
    shapes = torch.tensor(SHAPES)
    sizes = shapes.prod(1)
    start = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)[:-1]])
    value = torch.randn(batch, int(sizes.sum()), heads, channels, dtype=dtype)
    locations = spread * torch.rand(batch, queries, heads, len(SHAPES), points, 2, dtype=dtype) - (spread - 1) / 2
    weights = torch.rand(batch, queries, heads, len(SHAPES), points, dtype=dtype)
    return value, shapes, start, locations, weights


def test_matches_a_plain_loop(oracle) -> None:
    value, shapes, start, locations, weights = inputs()
    batch, queries, heads, _, points = weights.shape
    expected = torch.zeros(batch, queries, heads, value.shape[-1], dtype=torch.float64)
    for level, (height, width) in enumerate(SHAPES):
        level_value = value[:, start[level] : start[level] + height * width].view(batch, height, width, heads, -1)
        for n in range(batch):
            for q in range(queries):
                for g in range(heads):
                    for k in range(points):
                        x, y = locations[n, q, g, level, k].tolist()
                        for d in range(value.shape[-1]):
                            sample = oracle.bilinear(
                                level_value[n, :, :, g, d].tolist(), y * height - 0.5, x * width - 0.5, zero_border=True
                            )
                            expected[n, q, g, d] += weights[n, q, g, level, k] * sample
    values = ms_deform_attn(value, shapes, start, locations, weights)
    torch.testing.assert_close(values, expected.flatten(2), atol=1e-12, rtol=0)


def test_matches_grid_sample() -> None:
    value, shapes, start, locations, weights = inputs(torch.float32, queries=37, channels=8, points=4)
    batch, queries, heads, _, points = weights.shape
    total = 0.0
    for level, (height, width) in enumerate(SHAPES):
        flat = value[:, start[level] : start[level] + height * width].permute(0, 2, 3, 1)
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
        sampled = F.grid_sample(flat.reshape(batch * heads, -1, height, width), grid, align_corners=False)
        weighted = sampled * weights[:, :, :, level].transpose(1, 2).reshape(batch * heads, 1, queries, points)
        total = total + weighted.sum(-1)
    expected = total.view(batch, -1, queries).transpose(1, 2)
    torch.testing.assert_close(ms_deform_attn(value, shapes, start, locations, weights), expected, atol=1e-5, rtol=0)


def test_linear_in_value_and_weights() -> None:
    value, shapes, start, locations, weights = inputs()
    other = torch.randn_like(value)
    both = ms_deform_attn(value + 2 * other, shapes, start, locations, weights)
    parts = [ms_deform_attn(v, shapes, start, locations, weights) for v in (value, other)]
    torch.testing.assert_close(both, parts[0] + 2 * parts[1])
    torch.testing.assert_close(ms_deform_attn(value, shapes, start, locations, 3 * weights), 3 * parts[0])


def test_permuting_queries_permutes_the_output() -> None:
    value, shapes, start, locations, weights = inputs(queries=7)
    order = torch.randperm(7)
    moved = ms_deform_attn(value, shapes, start, locations[:, order], weights[:, order])
    torch.testing.assert_close(moved, ms_deform_attn(value, shapes, start, locations, weights)[:, order])


def test_gradcheck() -> None:
    value, shapes, start, locations, weights = inputs(queries=3)
    tensors = tuple(tensor.requires_grad_() for tensor in (value, locations, weights))
    assert torch.autograd.gradcheck(lambda v, p, w: ms_deform_attn(v, shapes, start, p, w), tensors)


def test_nan_locations_read_zero() -> None:
    value, shapes, start, locations, weights = inputs()
    expected = weights.clone()
    expected[0, 0, 0, 1, 0] = 0
    expected[0, 0, 0, 1, 1] = 0
    expected = ms_deform_attn(value, shapes, start, locations, expected)
    locations[0, 0, 0, 1, 0, 0] = math.nan
    locations[0, 0, 0, 1, 1, 1] = math.inf
    values = ms_deform_attn(value, shapes, start, locations.requires_grad_(), weights)
    values.sum().backward()
    torch.testing.assert_close(values, expected)
    assert locations.grad.isfinite().all()


def test_half_values_keep_precise_locations() -> None:
    value, shapes, start, locations, weights = inputs(torch.float32)
    half = ms_deform_attn(value.bfloat16(), shapes, start, locations, weights)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        exact = ms_deform_attn(value.bfloat16().float(), shapes, start, locations, weights)
    assert exact.dtype == torch.float32
    assert torch.equal(half, exact.bfloat16())


def test_no_queries_and_non_contiguous() -> None:
    value, shapes, start, locations, weights = inputs()
    assert ms_deform_attn(value, shapes, start, locations[:, :0], weights[:, :0]).shape == (2, 0, 6)
    strided = value.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(
        ms_deform_attn(strided, shapes, start, locations, weights),
        ms_deform_attn(value, shapes, start, locations, weights),
    )


def test_errors() -> None:
    value, shapes, start, locations, weights = inputs()
    with pytest.raises(InputError, match=r'level_start_index has shape \(2,\), expected \(3,\)'):
        ms_deform_attn(value, shapes, start[:2], locations, weights)
    with pytest.raises(InputError, match=r'sampling_locations has shape .* expected \(2, Q, 2, 3, K, 2\)'):
        ms_deform_attn(value, shapes, start, locations[:, :, :1], weights)
    with pytest.raises(InputError, match=r'attention_weights has shape .* expected \(2, 5, 2, 3, 2\)'):
        ms_deform_attn(value, shapes, start, locations, weights[:, :4])
    with pytest.raises(InputError, match=r'spatial_shapes has dtype torch.float32, expected int64'):
        ms_deform_attn(value, shapes.float(), start, locations, weights)

"""The compiled attention: against the plain one in every dtype, and as a citizen of torch.compile and torch.export."""

import math

import pytest
import torch

from stn_det.ops import ms_deform_attn
from stn_det.ops.reference.ms_deform_attn import ms_deform_attn_reference

pytestmark = pytest.mark.usefixtures('compiled')

SHAPES = [(9, 13), (5, 7), (1, 1)]


def inputs(dtype=torch.float64, batch=2, queries=31, heads=3, channels=8, points=5, shapes=SHAPES):
    generator = torch.Generator().manual_seed(channels)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    sizes = torch.tensor(shapes)
    start = torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]])
    value = torch.randn(batch, int(sizes.prod(1).sum()), heads, channels, generator=generator).to(dtype)
    size = (batch, queries, heads, len(shapes), points)
    locations = 1.4 * torch.rand(*size, 2, generator=generator, dtype=wide) - 0.2
    weights = torch.rand(size, generator=generator, dtype=wide)
    return value, sizes, start, locations, weights


@pytest.mark.parametrize('channels', [1, 3, 8, 16, 32, 40, 64, 100, 128])
@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    [(torch.float64, 1e-13), (torch.float32, 2e-6), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
)
def test_agrees_with_the_reference_in_float64(checks, dtype, tolerance, channels) -> None:
    arguments = inputs(dtype, channels=channels)
    found = checks.gradients(ms_deform_attn, arguments)
    wanted = checks.gradients(
        ms_deform_attn_reference, [part.double() if part.is_floating_point() else part for part in arguments]
    )
    assert [part.dtype for part in found[:2]] == [dtype, dtype]
    for one, other in zip(found, wanted):
        assert (one - other).abs().max() <= tolerance * other.abs().max()


@pytest.mark.parametrize('points', [1, 2, 3, 8, 12])
@pytest.mark.parametrize('channels', range(8, 129, 8))
def test_head_dimensions_and_points_in_16_bits(checks, channels, points) -> None:
    """A GPU takes 8 channels a lane, and as many lanes as a power of two, some of which have no channels then."""
    arguments = inputs(torch.bfloat16, batch=1, queries=7, channels=channels, points=points)
    wide = [part.double() if part.is_floating_point() else part for part in arguments]
    grad_output = torch.randn(1, 7, 3 * channels).bfloat16()
    found = checks.gradients(ms_deform_attn, arguments, grad_output)
    wanted = checks.gradients(ms_deform_attn_reference, wide, grad_output.double())
    for one, other, tolerance in zip(found, wanted, (2**-8, 2**-8, 1e-5, 1e-5), strict=True):
        assert (one - other).abs().max() <= tolerance * other.abs().max()


@pytest.mark.parametrize(('queries', 'points', 'batch'), [(1, 1, 1), (97, 2, 2), (13, 8, 3), (8, 3, 2), (5, 12, 7)])
def test_prime_queries_and_any_number_of_points(checks, queries, points, batch) -> None:
    """DCNv4 issues 5, 13 and 87: a tail of queries, 2 or 8 points, more than one image."""
    arguments = inputs(queries=queries, points=points, batch=batch)
    for one, other in zip(
        checks.gradients(ms_deform_attn, arguments), checks.gradients(ms_deform_attn_reference, arguments)
    ):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


PYRAMID = [(19, 21), (10, 11), (5, 6)]  # more than a tile of 8 x 16 queries, and no multiple of it


@pytest.mark.parametrize('channels', [3, 8, 16, 32])
def test_queries_that_are_the_positions_of_the_levels(checks, channels) -> None:
    """An encoder: queries are taken in tiles, from copies of the levels."""
    arguments = inputs(queries=19 * 21 + 10 * 11 + 5 * 6, heads=2, channels=channels, points=4, shapes=PYRAMID)
    for one, other in zip(
        checks.gradients(ms_deform_attn, arguments), checks.gradients(ms_deform_attn_reference, arguments)
    ):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize('channels', [3, 8, 16, 32])
def test_few_queries(checks, channels) -> None:
    """A decoder: fewer samples than would pay for copies of the levels."""
    arguments = inputs(queries=11, channels=channels, points=4, shapes=PYRAMID)
    for one, other in zip(
        checks.gradients(ms_deform_attn, arguments), checks.gradients(ms_deform_attn_reference, arguments)
    ):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize('queries', [11, 500])
@pytest.mark.usefixtures('deterministic')
def test_positions_between_levels_belong_to_none(checks, queries) -> None:
    value, sizes, start, locations, weights = inputs(queries=queries, shapes=PYRAMID)
    shift = torch.tensor([2, 5, 6])  # positions that are left out before each level
    kept = torch.cat([start[i] + shift[i] + torch.arange(int(sizes[i].prod())) for i in range(3)])
    wide = torch.full((2, value.shape[1] + 9, *value.shape[2:]), math.nan, dtype=torch.float64)
    wide[:, kept] = value
    found = checks.gradients(ms_deform_attn, (wide, sizes, start + shift, locations, weights))
    wanted = checks.gradients(ms_deform_attn, (value, sizes, start, locations, weights))
    assert torch.equal(found[1][:, kept], wanted[1])
    found[1][:, kept] = 0
    assert not found[1].any()
    for one, other in zip(found[:1] + found[2:], wanted[:1] + wanted[2:]):
        assert torch.equal(one, other)


@pytest.mark.parametrize('queries', [11, 500])
@pytest.mark.parametrize('empty', [(0, 7), (7, 0), (0, 0), (2**40, 0)])
@pytest.mark.usefixtures('deterministic')
def test_level_without_pixels_reads_nothing(checks, queries, empty) -> None:
    value, sizes, start, locations, weights = inputs(queries=queries, shapes=PYRAMID)
    shapes = torch.cat([sizes[:1], torch.tensor([empty]), sizes[1:]])
    starts = torch.cat([start[:1], start[1:2], start[1:]])
    twice = torch.tensor([0, 0, 1, 2])
    output, grad_value, grad_locations, grad_weights = checks.gradients(
        ms_deform_attn, (value, shapes, starts, locations[:, :, :, twice], weights[:, :, :, twice])
    )
    wanted = checks.gradients(ms_deform_attn, (value, sizes, start, locations, weights))
    for one, other in zip((output, grad_value, grad_locations[:, :, :, [0, 2, 3]]), wanted):
        assert torch.equal(one, other)
    assert not grad_locations[:, :, :, 1].any()
    assert not grad_weights[:, :, :, 1].any()


@pytest.mark.parametrize('queries', [11, 500])
def test_a_pixel_that_is_no_number_stays_where_it_is(queries) -> None:
    """Points beyond the last row and column read zeros, not the pixel that lies next in memory."""
    value, sizes, start, _, weights = inputs(torch.float32, queries=queries, shapes=[(4, 6), (3, 3)])
    x, y = torch.rand(2, 2, queries, 3, 2, 5, generator=torch.Generator().manual_seed(0))
    value[:, [0, 5, 18, 23, 24, 26, 30, 32]] = math.nan  # the corners of both levels
    outside = torch.stack([torch.where(x < 0.5, x - 1, x + 1), 3 * y - 1], -1)  # left or right of the map
    assert not ms_deform_attn(value, sizes, start, outside, weights).any()
    assert not ms_deform_attn(value, sizes, start, outside.flip(-1), weights).any()  # above or below


def test_gradient_at_the_edges_of_a_level(checks) -> None:
    """Locations that land on pixel -1, on the last pixel, half a pixel from it, and beyond."""
    shapes, size = [(4, 6)], 6
    pixels = torch.tensor([-1.0, -0.5, 0.0, size - 1.0, size - 0.5, size, size + 3])
    x = ((pixels + 0.5) / size).double()
    locations = torch.stack([x, torch.full_like(x, 0.4)], -1).view(1, -1, 1, 1, 1, 2)
    value, sizes, start, _, _ = inputs(batch=1, heads=1, shapes=shapes)
    weights = torch.ones(1, x.numel(), 1, 1, 1, dtype=torch.float64)
    arguments = (value, sizes, start, locations, weights)
    for one, other in zip(
        checks.gradients(ms_deform_attn, arguments), checks.gradients(ms_deform_attn_reference, arguments)
    ):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf, 1e30, -1e30])
def test_wild_locations_read_nothing(checks, bad) -> None:
    value, sizes, start, locations, weights = inputs(torch.float32)
    locations[..., 0] = bad
    output, grad_value, grad_locations, grad_weights = checks.gradients(
        ms_deform_attn, (value, sizes, start, locations, weights)
    )
    assert not output.any()
    assert not grad_value.any()
    assert not grad_locations.any()
    assert not grad_weights.any()


@pytest.mark.parametrize('empty', ['batch', 'queries', 'heads', 'channels', 'points', 'levels'])
def test_empty(checks, empty) -> None:
    options = {'shapes': []} if empty == 'levels' else {empty: 0}
    value, sizes, start, locations, weights = (
        inputs(**{'channels': 8, **options})
        if empty != 'levels'
        else (
            torch.zeros(2, 0, 3, 8, dtype=torch.float64),
            torch.zeros(0, 2, dtype=torch.long),
            torch.zeros(0, dtype=torch.long),
            torch.zeros(2, 31, 3, 0, 5, 2, dtype=torch.float64),
            torch.zeros(2, 31, 3, 0, 5, dtype=torch.float64),
        )
    )
    output, *grads = checks.gradients(ms_deform_attn, (value, sizes, start, locations, weights))
    assert output.shape == (locations.shape[0], locations.shape[1], value.shape[2] * value.shape[3])
    assert not output.any()
    assert [grad.shape for grad in grads] == [value.shape, locations.shape, weights.shape]


@pytest.mark.usefixtures('deterministic')
def test_any_layout_of_the_arguments(checks) -> None:
    arguments = inputs()
    turned = [part.transpose(0, -1).contiguous().transpose(0, -1) for part in arguments]
    assert not any(part.is_contiguous() for part in turned[-2:])
    expanded = torch.ones((), dtype=torch.float64).expand(2, 31, 24)
    for one, other in zip(
        checks.gradients(ms_deform_attn, turned, expanded), checks.gradients(ms_deform_attn, arguments, expanded)
    ):
        assert torch.equal(one, other)


@pytest.mark.usefixtures('deterministic')
def test_the_number_of_threads_changes_no_bit(checks) -> None:
    """With two heads, three threads split the levels as well."""
    arguments = inputs(torch.float32, queries=539, heads=2, channels=32, shapes=PYRAMID)
    checks.same_for_any_number_of_threads(lambda: checks.gradients(ms_deform_attn, arguments))


@pytest.mark.usefixtures('cpu_only')
def test_level_outside_the_value_is_refused() -> None:
    value, sizes, start, locations, weights = inputs()
    with pytest.raises(RuntimeError, match=r'level 2 of 1 x 1 from position 153 does not fit the 153 positions'):
        ms_deform_attn(value, sizes, start + torch.tensor([0, 0, 1]), locations, weights)
    with pytest.raises(RuntimeError, match='level 0 of'):
        ms_deform_attn(value, sizes.index_fill(0, torch.tensor([0]), 2**62), start, locations, weights)


def test_more_positions_than_the_kernel_counts_are_refused() -> None:
    """Without channels, so that they take no memory."""
    value = torch.zeros(1, 2**31, 1, 0)
    shapes, start = torch.tensor([[2**16, 2**15]]), torch.tensor([0])
    with pytest.raises(RuntimeError, match='value has 2147483648 positions, expected fewer than'):
        ms_deform_attn(value, shapes, start, torch.zeros(1, 1, 1, 1, 1, 2), torch.zeros(1, 1, 1, 1, 1))


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
def test_opcheck(dtype) -> None:
    arguments = tuple(part.requires_grad_() if part.is_floating_point() else part for part in inputs(dtype))
    torch.library.opcheck(torch.ops.stn_det.ms_deform_attn.default, arguments)
    grad_output = torch.randn(2, 31, 24, dtype=arguments[-1].dtype)
    plain = tuple(part.detach() for part in arguments)
    torch.library.opcheck(torch.ops.stn_det.ms_deform_attn_backward.default, (grad_output, *plain))


@pytest.mark.usefixtures('deterministic')
def test_compiles_whole_forward_and_backward(checks) -> None:
    arguments = inputs(torch.float32)
    compiled = torch.compile(ms_deform_attn, fullgraph=True, backend='aot_eager')
    for one, other in zip(checks.gradients(compiled, arguments), checks.gradients(ms_deform_attn, arguments)):
        assert torch.equal(one, other)


def test_exports(checks) -> None:
    checks.exports(ms_deform_attn, inputs(torch.float32), 'ms_deform_attn')


@pytest.mark.usefixtures('cpu_only')
def test_portable_code_agrees_with_that_for_this_processor(checks, tmp_path) -> None:
    arguments = inputs(torch.float32, channels=40)
    found = checks.portable('ms_deform_attn', arguments, tmp_path)
    torch.testing.assert_close(found, ms_deform_attn(*arguments), atol=1e-5, rtol=0)

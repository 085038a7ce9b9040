"""Fused attention: softmax, locations of points, boxes and turned boxes inside."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stn_det.errors import InputError
from stn_det.ops import ms_deform_attn, ms_deform_attn_fused
from stn_det.ops.reference.ms_deform_attn_fused import ms_deform_attn_fused_reference, sampling_locations

SHAPES = [(9, 13), (5, 7), (1, 1)]


def inputs(size, dtype=torch.float64, batch=2, queries=31, heads=3, channels=8, points=5, shapes=SHAPES):
    generator = torch.Generator().manual_seed(channels)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    sizes = torch.tensor(shapes, dtype=torch.long).view(-1, 2)
    start = torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)])[:-1]
    value = torch.randn(batch, int(sizes.prod(1).sum()), heads, channels, generator=generator).to(dtype)
    levels = len(shapes)
    references = torch.rand(batch, queries, levels, size, generator=generator, dtype=wide)
    references[..., 4:] = references[..., 4:] * 8 - 4
    offsets = 3 * torch.randn(batch, queries, heads, levels, points, 2, generator=generator, dtype=wide)
    logits = 2 * torch.randn(batch, queries, heads, levels * points, generator=generator, dtype=wide)
    return value, sizes, start, references, offsets, logits


def pixel_of(reference, offset, shape=(64, 128)):
    """Where one point of one query lies, in continuous pixels of a level of that shape."""
    shapes = torch.tensor([shape])
    references = torch.tensor(reference, dtype=torch.float64).view(1, 1, 1, -1)
    offsets = torch.tensor(offset, dtype=torch.float64).view(1, 1, 1, 1, 1, 2)
    return (sampling_locations(references, offsets, shapes).view(2) * shapes[0].flip(0)).tolist()


@pytest.mark.parametrize(
    ('angle', 'expected'), [(0, (50.0, 0.0)), (45, (35.355339, 35.355339)), (90, (0.0, 50.0)), (180, (-50.0, 0.0))]
)
def test_offsets_turn_in_pixels_on_a_level_that_is_not_square(angle, expected) -> None:
    """A box of 100 x 20 pixels: the offset (1, 0) leads to the middle of its short side, whatever the angle."""
    x, y = pixel_of([0.5, 0.5, 100 / 128, 20 / 64, math.radians(angle)], [1.0, 0.0])
    assert (x - 64, y - 32) == pytest.approx(expected, abs=1e-5)


def test_locations_of_points_and_boxes_are_those_of_deformable_detr() -> None:
    assert pixel_of([0.25, 0.5], [3.0, -2.0]) == pytest.approx([35.0, 30.0])
    assert pixel_of([0.25, 0.5, 0.5, 0.25], [1.0, -1.0]) == pytest.approx([64.0, 24.0])
    assert pixel_of([0.25, 0.5, 0.5, 0.25, 0.0], [1.0, -1.0]) == pytest.approx([64.0, 24.0])


@pytest.mark.parametrize('size', [2, 4, 5])
def test_equals_the_attention_of_its_locations_and_weights(implementation, size) -> None:
    value, shapes, start, references, offsets, logits = inputs(size)
    locations = sampling_locations(references, offsets, shapes)
    expected = ms_deform_attn(value, shapes, start, locations, logits.softmax(-1).view(offsets.shape[:-1]))
    found = ms_deform_attn_fused(value, shapes, start, references, offsets, logits)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.usefixtures('compiled')
@pytest.mark.parametrize('channels', [3, 8, 16, 32, 40, 128])
@pytest.mark.parametrize('size', [2, 4, 5])
@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
)
def test_agrees_with_the_reference_in_float64(checks, dtype, tolerance, size, channels) -> None:
    arguments = inputs(size, dtype, channels=channels)
    found = checks.gradients(ms_deform_attn_fused, arguments)
    wide = [part.double() if part.is_floating_point() else part for part in arguments]
    wanted = checks.gradients(ms_deform_attn_fused_reference, wide)
    assert [part.dtype for part in found[:2]] == [dtype, dtype]
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).abs().max() <= tolerance * other.abs().max()


@pytest.mark.usefixtures('compiled')
@pytest.mark.parametrize(
    ('queries', 'points', 'heads'), [(700, 4, 2), (1, 1, 1), (97, 8, 2), (40, 3, 1), (9, 2, 5), (23, 12, 2)]
)
def test_dense_and_sparse_queries_and_any_number_of_points(checks, queries, points, heads) -> None:
    """Many queries read a copy of the value that is ordered by head."""
    arguments = inputs(5, queries=queries, points=points, heads=heads)
    found = checks.gradients(ms_deform_attn_fused, arguments)
    for one, other in zip(found, checks.gradients(ms_deform_attn_fused_reference, arguments), strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=0)


@pytest.mark.parametrize('size', [2, 4, 5])
def test_gradcheck(implementation, size) -> None:
    arguments = inputs(size, batch=1, queries=3, heads=2, channels=4, points=2, shapes=[(4, 6), (2, 3)])
    leaves = [part.requires_grad_() if part.is_floating_point() else part for part in arguments]
    assert torch.autograd.gradcheck(ms_deform_attn_fused, leaves, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
def test_wild_references_and_offsets_read_nothing(implementation, checks, bad) -> None:
    value, shapes, start, references, offsets, logits = inputs(2, torch.float32)
    for name, changed in (('references', references), ('offsets', offsets)):
        wild = changed.clone()
        wild[..., 0] = bad
        chosen = (wild, offsets) if name == 'references' else (references, wild)
        output, grad_value, *_ = checks.gradients(ms_deform_attn_fused, (value, shapes, start, *chosen, logits))
        assert not output.any()
        assert not grad_value.any()


def test_logits_that_are_not_finite_do_what_softmax_does(implementation) -> None:
    value, shapes, start, references, offsets, logits = inputs(2, torch.float32, points=4)
    logits[0, 0, 0, 3] = -math.inf  # weighs nothing
    logits[0, 1, 0] = -math.inf  # all of them: NaN
    logits[0, 2, 0, 0] = math.nan
    output = ms_deform_attn_fused(value, shapes, start, references, offsets, logits).view(2, 31, 3, 8)
    expected = ms_deform_attn_fused_reference(value, shapes, start, references, offsets, logits).view(2, 31, 3, 8)
    assert output[0, 0].isfinite().all()
    assert output[0, 2, 0].isnan().all()
    torch.testing.assert_close(output, expected, equal_nan=True, atol=1e-5, rtol=1e-5)


def test_logits_of_any_size_do_not_overflow(implementation) -> None:
    value, shapes, start, references, offsets, logits = inputs(2, torch.float32)
    shifted = ms_deform_attn_fused(value, shapes, start, references, offsets, logits + 4096)
    torch.testing.assert_close(
        shifted,
        ms_deform_attn_fused_reference(value, shapes, start, references, offsets, logits + 4096),
        atol=1e-5,
        rtol=0,
    )
    assert shifted.isfinite().all()
    output = ms_deform_attn_fused(value, shapes, start, references, offsets, 1e4 * logits)
    assert output.isfinite().all()


@pytest.mark.parametrize('empty', ['batch', 'queries', 'heads', 'channels', 'points', 'shapes'])
def test_empty(implementation, checks, empty) -> None:
    options = {'shapes': []} if empty == 'shapes' else {empty: 0}
    arguments = inputs(5, **options)
    output, *grads = checks.gradients(ms_deform_attn_fused, arguments)
    value, offsets = arguments[0], arguments[4]
    assert output.shape == (value.shape[0], offsets.shape[1], value.shape[2] * value.shape[3])
    assert not output.any()
    assert [grad.shape for grad in grads] == [part.shape for part in arguments if part.is_floating_point()]
    assert not any(grad.any() for grad in grads[:-1])


@pytest.mark.usefixtures('compiled', 'deterministic')
def test_any_layout_of_the_arguments(checks) -> None:
    arguments = inputs(4)
    turned = [part.transpose(0, -1).contiguous().transpose(0, -1) for part in arguments]
    assert not turned[-1].is_contiguous()
    expanded = torch.ones((), dtype=torch.float64).expand(2, 31, 24)
    found = checks.gradients(ms_deform_attn_fused, turned, expanded)
    for one, other in zip(found, checks.gradients(ms_deform_attn_fused, arguments, expanded), strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures('compiled', 'deterministic')
def test_the_number_of_threads_changes_no_bit(checks) -> None:
    """With two heads, three threads split the levels as well."""
    arguments = inputs(5, torch.float32, queries=500, heads=2, channels=32)
    checks.same_for_any_number_of_threads(lambda: checks.gradients(ms_deform_attn_fused, arguments))


@pytest.mark.usefixtures('compiled')
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
def test_opcheck(dtype) -> None:
    arguments = tuple(part.requires_grad_() if part.is_floating_point() else part for part in inputs(5, dtype))
    torch.library.opcheck(torch.ops.stn_det.ms_deform_attn_fused.default, arguments)
    grad_output = torch.randn(2, 31, 24, dtype=arguments[-1].dtype)
    plain = tuple(part.detach() for part in arguments)
    torch.library.opcheck(torch.ops.stn_det.ms_deform_attn_fused_backward.default, (grad_output, *plain))


@pytest.mark.usefixtures('compiled', 'deterministic')
def test_compiles_whole_exports_and_runs_portably(checks, tmp_path) -> None:
    arguments = inputs(5, torch.float32, channels=40)
    compiled = torch.compile(ms_deform_attn_fused, fullgraph=True, backend='aot_eager')
    plain = checks.gradients(ms_deform_attn_fused, arguments)
    assert all(torch.equal(*pair) for pair in zip(checks.gradients(compiled, arguments), plain, strict=True))
    checks.exports(ms_deform_attn_fused, arguments, 'ms_deform_attn_fused')
    portable = checks.portable('ms_deform_attn_fused', arguments, tmp_path)
    torch.testing.assert_close(portable, plain[0], atol=1e-5, rtol=0)


@settings(max_examples=25, deadline=None)
@given(turn=st.floats(-10, 10), seed=st.integers(0, 1000))
def test_a_turned_box_on_a_turned_map_reads_the_same(turn, seed) -> None:
    """A linear ramp turned about the centre of the box: the samples inside a large map are those of the upright box."""
    size = 64
    centres = torch.arange(size, dtype=torch.float64) + 0.5 - size / 2
    y, x = torch.meshgrid(centres, centres, indexing='ij')
    cos, sin = math.cos(turn), math.sin(turn)
    maps = [x + 2 * y, (cos * x + sin * y) + 2 * (-sin * x + cos * y)]
    generator = torch.Generator().manual_seed(seed)
    offsets = 2 * torch.rand(1, 6, 1, 1, 4, 2, generator=generator, dtype=torch.float64) - 1
    logits = torch.randn(1, 6, 1, 4, generator=generator, dtype=torch.float64)
    shapes, start = torch.tensor([[size, size]]), torch.tensor([0])
    read = []
    for angle, ramp in zip((0.0, turn), maps):
        reference = torch.tensor([0.5, 0.5, 0.6, 0.2, angle], dtype=torch.float64).expand(1, 6, 1, 5)
        value = ramp.reshape(1, -1, 1, 1)
        read.append(ms_deform_attn_fused(value, shapes, start, reference, offsets, logits))
    torch.testing.assert_close(read[0], read[1], atol=1e-9, rtol=0)


@settings(max_examples=20, deadline=None)
@given(a=st.floats(-3, 3), b=st.floats(-3, 3), shift=st.floats(-50, 50))
def test_linear_in_the_value_and_blind_to_a_shift_of_the_logits(a, b, shift) -> None:
    value, shapes, start, *others = inputs(5, queries=7)
    other = value.flip(1)
    found = ms_deform_attn_fused(a * value + b * other, shapes, start, *others)
    parts = [ms_deform_attn_fused(part, shapes, start, *others) for part in (value, other)]
    torch.testing.assert_close(found, a * parts[0] + b * parts[1], atol=1e-11, rtol=0)
    moved = ms_deform_attn_fused(value, shapes, start, others[0], others[1], others[2] + shift)
    torch.testing.assert_close(moved, parts[0], atol=1e-11, rtol=0)


@pytest.mark.parametrize(
    ('place', 'change', 'message'),
    [
        (3, lambda t: t[..., :3], r'reference_points has shape \(2, 31, 3, 3\), expected 2 \(x, y\), 4'),
        (3, lambda t: t[:, :5], 'reference_points has shape'),
        (4, lambda t: t[..., :1], 'sampling_offsets has shape'),
        (5, lambda t: t[..., :4], 'attention_logits has shape'),
        (5, lambda t: t.long(), 'attention_logits has dtype torch.int64'),
        (2, lambda t: t.float(), r'level_start_index has dtype torch.float32, expected int64'),
    ],
)
def test_errors_name_the_argument(place, change, message) -> None:
    arguments = list(inputs(5))
    arguments[place] = change(arguments[place])
    with pytest.raises(InputError, match=message):
        ms_deform_attn_fused(*arguments)


@pytest.mark.usefixtures('compiled', 'cpu_only')
def test_levels_that_overlap_are_refused() -> None:
    value, shapes, start, *others = inputs(2)
    with pytest.raises(RuntimeError, match='level 1 starts at position 116, inside the level before it'):
        ms_deform_attn_fused(value, shapes, start - torch.tensor([0, 1, 1]), *others)

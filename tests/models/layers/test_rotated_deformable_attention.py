"""Attention that turns with the box: where it looks in pixels, both paths, mmcv's weights."""

import math

import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention
from torch import Tensor

from stn_det.errors import ConfigError, InputError
from stn_det.models.layers import BoxState, RotatedDeformableAttention, record_sampling

SHAPES = ((6, 9), (3, 5))


def levels(shapes: tuple[tuple[int, int], ...] = SHAPES) -> dict[str, Tensor]:
    """Sizes and first positions of levels."""
    counts = torch.tensor([0, *(height * width for height, width in shapes[:-1])])
    return dict(spatial_shapes=torch.tensor(shapes), level_start_index=counts.cumsum(0))


def randomized(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """A module with random weights, so that offsets depend on queries."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5)
    return module


def example(size: int, seed: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Query (2, 7, 16), value and references (2, 7, 2, size)."""
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(2, 7, 16, generator=generator)
    value = torch.randn(2, sum(h * w for h, w in SHAPES), 16, generator=generator)
    references = torch.rand(2, 7, 1, 5, generator=generator).expand(-1, -1, 2, -1)[..., :size].clone()
    return query, value, references


def looking_ahead() -> RotatedDeformableAttention:
    """One head with one point, always at offset (1, 0), that passes two channels on as they are."""
    attention = RotatedDeformableAttention(2, num_heads=1, num_levels=1, num_points=1, dropout=0.0)
    with torch.no_grad():
        attention.sampling_offsets.bias.copy_(torch.tensor([1.0, 0.0]))
        for projection in (attention.value_proj, attention.output_proj):
            projection.weight.copy_(torch.eye(2))
    return attention


def seen_from_centre(box: list[float], img_shape: tuple[int, int], batch_shape: tuple[int, int], stride: int) -> Tensor:
    """Where ``looking_ahead`` looks from the centre of a box, pixels, found by what it reads.

    The value of a cell is its own place, x and y in pixels; between cells bilinear sampling makes that exact.
    """
    height, width = batch_shape[0] // stride, batch_shape[1] // stride
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij')
    value = torch.stack([x, y], -1).flatten(0, 1)[None] * stride
    state = BoxState.from_boxes(torch.tensor([[box]]), [img_shape])
    state[..., 4] = box[4]  # 90 degrees as they are, not as -90, which le90 writes
    references = BoxState.level_references(state, [img_shape], batch_shape, 1)
    query = torch.zeros(1, 1, 2)
    found = looking_ahead()(query, value=value, reference_points=references, **levels(((height, width),)))
    return found[0, 0].detach() - torch.tensor(box[:2])


FRAMES = [((256, 256), (256, 256)), ((192, 384), (192, 384)), ((200, 300), (256, 320)), ((250, 160), (256, 384))]


@pytest.mark.parametrize('stride', [4, 8])
@pytest.mark.parametrize(('img_shape', 'batch_shape'), FRAMES, ids=['square', 'wide', 'padded', 'padded-tall'])
@pytest.mark.parametrize(
    ('degrees', 'expected'),
    [(0, (50, 0)), (45, (35.355, 35.355)), (90, (0, 50)), (-30, (43.301, -25.0)), (-90, (0, -50))],
)
def test_an_offset_ahead_stays_ahead_in_pixels(
    degrees: float, expected: tuple[float, float], img_shape: tuple, batch_shape: tuple, stride: int
) -> None:
    box = [80.0, 90.0, 100.0, 20.0, math.radians(degrees)]
    ahead = seen_from_centre(box, img_shape, batch_shape, stride)
    assert ahead.tolist() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize('size', [2, 4, 5])
@pytest.mark.parametrize('angles', [False, True])
def test_both_paths_agree_forward_and_in_gradients(size: int, angles: bool) -> None:
    settings = dict(embed_dims=16, num_heads=4, num_levels=2, num_points=3, dropout=0.0, angle_offsets=angles)
    modules = [randomized(RotatedDeformableAttention(**settings, fused=fused)) for fused in (True, False)]
    results = []
    for module in modules:
        leaves = [part.requires_grad_() for part in example(size)]
        output = module(leaves[0], value=leaves[1], reference_points=leaves[2], **levels())
        (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
        results.append([output, *(leaf.grad for leaf in leaves), *(weight.grad for weight in module.parameters())])
    assert len(results[0]) == 4 + 8 + int(angles)
    for fused, plain in zip(*results, strict=True):
        assert torch.allclose(fused, plain, rtol=1e-4, atol=1e-4 * plain.abs().max().item())


@pytest.mark.parametrize('size', [2, 4])
def test_weights_of_mmcv_load_and_give_the_same(size: int) -> None:
    settings = dict(embed_dims=16, num_heads=4, num_levels=2, num_points=3, dropout=0.0, batch_first=True)
    theirs = randomized(MultiScaleDeformableAttention(**settings))
    ours = RotatedDeformableAttention(**settings)
    ours.load_state_dict(theirs.state_dict())
    query, value, references = example(size)
    expected = theirs(query, value=value, reference_points=references, **levels())
    found = ours(query, value=value, reference_points=references, **levels())
    assert torch.allclose(found, expected, atol=1e-5)


def test_untrained_heads_look_where_those_of_mmcv_look() -> None:
    settings = dict(embed_dims=16, num_heads=8, num_levels=2, num_points=3)
    theirs, ours = MultiScaleDeformableAttention(**settings), RotatedDeformableAttention(**settings)
    for name in ('sampling_offsets', 'attention_weights'):
        for part in ('weight', 'bias'):
            expected = getattr(getattr(theirs, name), part)
            assert torch.allclose(getattr(getattr(ours, name), part), expected, atol=1e-6)


def test_without_rotation_the_angle_is_forgotten_and_nothing_else() -> None:
    settings = dict(embed_dims=16, num_heads=4, num_levels=2, num_points=3, dropout=0.0)
    query, value, references = example(5)
    blind, seeing = (randomized(RotatedDeformableAttention(**settings, rotate=rotate)) for rotate in (False, True))
    found = blind(query, value=value, reference_points=references, **levels())
    assert torch.equal(found, seeing(query, value=value, reference_points=references[..., :4], **levels()))
    assert not torch.allclose(found, seeing(query, value=value, reference_points=references, **levels()), atol=1e-2)


@pytest.mark.parametrize('size', [4, 5])
def test_the_angle_of_a_head_adds_to_that_of_the_box(size: int) -> None:
    settings = dict(embed_dims=16, num_heads=1, num_levels=2, num_points=3, dropout=0.0)
    plain, turned = (RotatedDeformableAttention(**settings, angle_offsets=learnt) for learnt in (False, True))
    randomized(plain)
    turned.load_state_dict({**plain.state_dict(), 'angle_offsets': torch.tensor([0.4])})
    query, value, references = example(size)
    sum_of_both = torch.cat([references[..., :4], references[..., 4:].sum(-1, keepdim=True) + 0.4], -1)
    found = turned(query, value=value, reference_points=references, **levels())
    expected = plain(query, value=value, reference_points=sum_of_both, **levels())
    assert torch.allclose(found, expected, atol=1e-4)


def test_angles_of_heads_begin_at_zero_and_change_nothing() -> None:
    settings = dict(embed_dims=16, num_heads=4, num_levels=2, num_points=3, dropout=0.0)
    plain, turned = (RotatedDeformableAttention(**settings, angle_offsets=learnt) for learnt in (False, True))
    turned.load_state_dict({**plain.state_dict(), 'angle_offsets': turned.angle_offsets.detach()})
    query, value, references = example(5)
    outputs = [part(query, value=value, reference_points=references, **levels()) for part in (plain, turned)]
    assert torch.allclose(*outputs, atol=1e-6)


def test_padding_reads_as_nothing() -> None:
    attention = randomized(RotatedDeformableAttention(16, 4, 2, 3, dropout=0.0))
    query, value, references = example(5)
    padding = torch.zeros(value.shape[:2], dtype=torch.bool)
    padding[1, 20:] = True
    changed = value.clone()
    changed[1, 20:] = 1e3
    arguments = dict(key_padding_mask=padding, reference_points=references, **levels())
    assert torch.equal(attention(query, value=value, **arguments), attention(query, value=changed, **arguments))
    assert not torch.equal(
        attention(query, value=value, reference_points=references, **levels()),
        attention(query, value=value, **arguments),
    )


def test_what_is_sampled_can_be_recorded() -> None:
    attention = randomized(RotatedDeformableAttention(16, 4, 2, 3, dropout=0.0))
    query, value, references = example(5)
    model = torch.nn.ModuleDict(dict(inside=attention))
    with record_sampling(model) as records:
        first = attention(query, value=value, reference_points=references, **levels())
        attention(query, value=value, reference_points=references, **levels())
    (locations, weights), _ = records['inside']
    assert locations.shape == (2, 7, 4, 2, 3, 2)
    assert weights.shape == (2, 7, 4, 2, 3)
    assert torch.allclose(weights.sum((-1, -2)), torch.ones(2, 7, 4))
    from stn_det.ops import ms_deform_attn

    values = attention.value_proj(value).unflatten(-1, (4, 4))
    sampled = ms_deform_attn(values, *levels().values(), locations, weights)
    assert torch.allclose(attention.output_proj(sampled) + query, first, atol=1e-5)
    assert attention.record is None
    attention(query, value=value, reference_points=references, **levels())
    assert len(records['inside']) == 2


def test_autocast_stays_close_to_float32() -> None:
    attention = randomized(RotatedDeformableAttention(16, 4, 2, 3, dropout=0.0))
    query, value, references = example(5)
    expected = attention(query, value=value, reference_points=references, **levels())
    with torch.autocast('cpu', torch.bfloat16):
        found = attention(query, value=value, reference_points=references, **levels())
    assert (found - expected).abs().mean() < 0.05 * expected.abs().mean()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(num_heads=3), r'num_heads is 3; expected a divisor of embed_dims, which is 16'),
        (dict(batch_first=False), r'batch_first is False; expected True'),
        (dict(rotate=False, angle_offsets=True), r'angle_offsets is True and rotate is False'),
    ],
)
def test_bad_settings_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RotatedDeformableAttention(**{**dict(embed_dims=16, num_heads=4), **arguments})


def test_missing_references_are_named() -> None:
    with pytest.raises(InputError, match=r'got None for reference_points'):
        RotatedDeformableAttention(16, 4, 2)(torch.zeros(1, 3, 16), **levels())

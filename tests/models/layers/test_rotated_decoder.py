"""Decoder layers: a turn of the input, refinement from layer to layer, positional queries."""

import math

import pytest
import torch
from torch import Tensor, nn

from stn_det.models.layers import BoxState, RotatedDeformableDecoder, RotatedDinoDecoder
from stn_det.models.layers.flat_levels import FlatLevels, Frame
from stn_det.models.layers.rotated_decoder import RotatedDecoderLayer

CHANNELS = 16
ATTENTION = dict(embed_dims=CHANNELS, num_heads=4, dropout=0.0)
LAYER = dict(
    self_attn_cfg=dict(ATTENTION),
    cross_attn_cfg=dict(**ATTENTION, num_levels=2, num_points=3),
    ffn_cfg=dict(embed_dims=CHANNELS, feedforward_channels=32, ffn_drop=0.0),
)


def branches(number: int) -> nn.ModuleList:
    """Random branches of the box."""
    return nn.ModuleList(nn.Linear(CHANNELS, 5) for _ in range(number))


def frame_of(sizes: list[tuple[int, int]], batch_shape: tuple[int, int]) -> Frame:
    """Frame of images of these sizes (H, W)."""
    return Frame(tuple(sizes), batch_shape, torch.tensor(sizes, dtype=torch.float32))


def scene(seed: int = 0) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Maps of a wide image, queries (1, 9, C) with positions, states (1, 9, 5)."""
    generator = torch.Generator().manual_seed(seed)
    feats = [torch.randn(1, CHANNELS, 8 // s, 14 // s, generator=generator) for s in (1, 2)]
    query, query_pos = torch.randn(2, 1, 9, CHANNELS, generator=generator)
    states = torch.rand(1, 9, 5, generator=generator) * 0.6 + 0.2
    states[..., 4] = torch.linspace(-1.5, 1.5, 9)
    return feats, query, query_pos, states


def turned_quarter(states: Tensor) -> Tensor:
    """States after a clockwise quarter turn of the image: the point (x, y) goes to (1 - y, x), in fractions."""
    x, y, w, h, theta = states.unbind(-1)
    return torch.stack([1 - y, x, w, h, theta + math.pi / 2], -1)


def through(layer: RotatedDecoderLayer, feats: list[Tensor], states: Tensor, *queries: Tensor) -> Tensor:
    """Output of a layer for maps at strides 8 and 16 of an image without padding."""
    size = (feats[0].shape[2] * 8, feats[0].shape[3] * 8)
    memory = FlatLevels.join(feats, None)
    references = BoxState.level_references(states, [size], size, 2)
    return layer(queries[0], memory.tokens, queries[1], references, **memory.kwargs())


def test_a_quarter_turn_of_image_and_boxes_leaves_every_query_as_it_is() -> None:
    torch.manual_seed(0)
    layer = RotatedDecoderLayer(**LAYER)
    nn.init.normal_(layer.cross_attn.sampling_offsets.weight, std=0.3)
    nn.init.normal_(layer.cross_attn.attention_weights.weight, std=0.3)
    feats, query, query_pos, states = scene()
    turned = [feat.rot90(-1, (2, 3)) for feat in feats]  # clockwise
    assert turned[0].shape[-2:] == (14, 8)
    expected = through(layer, feats, states, query, query_pos)
    found = through(layer, turned, turned_quarter(states), query, query_pos)
    assert torch.allclose(found, expected, atol=1e-5)
    unturned_boxes = turned_quarter(states)
    unturned_boxes[..., 4] = states[..., 4]
    assert not torch.allclose(through(layer, turned, unturned_boxes, query, query_pos), expected, atol=1e-2)


def test_across_the_seam_heads_look_the_other_way() -> None:
    torch.manual_seed(0)
    layer = RotatedDecoderLayer(**LAYER)
    feats, query, query_pos, states = scene()
    turned = [feat.rot90(-1, (2, 3)) for feat in feats]
    boxes = BoxState.boxes(turned_quarter(states), [(112, 64)])
    rewritten = BoxState.from_boxes(boxes, [(112, 64)])  # le90
    crosses = states[0, :, 4] >= 0
    difference = through(layer, turned, rewritten, query, query_pos) - through(layer, feats, states, query, query_pos)
    assert torch.equal(rewritten[0, :, 4] < 0, crosses)
    assert (difference[0, ~crosses].abs().amax(-1) < 1e-5).all()
    assert (difference[0, crosses].abs().amax(-1) > 1e-3).all()


def decode(decoder: RotatedDeformableDecoder, reference: Tensor, heads: nn.ModuleList):
    """What a decoder gives for the scene."""
    feats, query, query_pos, _ = scene()
    memory, frame = FlatLevels.join(feats, None), frame_of([(64, 112)], (64, 112))
    return decoder(query, query_pos, reference, memory, frame, heads, BoxState())


def test_each_layer_starts_from_the_box_of_the_one_before() -> None:
    torch.manual_seed(0)
    decoder, heads, states = RotatedDeformableDecoder(3, LAYER), branches(3), scene()[3]
    decoded = decode(decoder, states, heads)
    assert torch.equal(decoded.references[0], states)
    for layer in (0, 1):
        expected = BoxState().refine(decoded.references[layer], decoded.deltas[layer], layer)
        assert torch.allclose(decoded.references[layer + 1], expected)
    assert all(torch.equal(heads[i](decoded.hidden[i]), decoded.deltas[i]) for i in range(3))


def test_without_refinement_all_layers_start_from_the_same_point() -> None:
    decoder = RotatedDeformableDecoder(3, LAYER, with_box_refine=False)
    points = scene()[3][..., :2].clone().requires_grad_()
    decoded = decode(decoder, points, branches(3))
    assert all(torch.equal(reference, points) for reference in decoded.references)
    decoded.hidden[-1][..., 0].sum().backward()
    assert points.grad.abs().sum() > 0


@pytest.mark.parametrize('twice', [False, True])
def test_looking_forward_twice_reaches_one_layer_back_and_no_further(twice: bool) -> None:
    torch.manual_seed(0)
    decoder, heads = RotatedDeformableDecoder(3, LAYER, look_forward_twice=twice), branches(3)
    decoded = decode(decoder, scene()[3], heads)
    last = BoxState().refine(decoded.references[2], decoded.deltas[2].detach(), 2)
    if not twice:
        assert not last.requires_grad
        return
    reached = torch.autograd.grad(last.sum(), decoded.deltas, allow_unused=True)
    assert reached[0] is None
    assert reached[2] is None
    assert reached[1].abs().amin() > 0


def test_positional_queries_of_dino_follow_the_box_but_not_its_angle() -> None:
    torch.manual_seed(0)
    states = scene()[3]
    turned, moved = states.clone(), states.clone()
    turned[..., 4] += 0.3
    moved[..., 2] += 0.1
    decoder = RotatedDinoDecoder(1, LAYER)
    assert torch.equal(decoder.positions(turned, None), decoder.positions(states, None))
    assert not torch.allclose(decoder.positions(moved, None), decoder.positions(states, None), atol=1e-4)


def test_an_angle_in_the_query_has_no_seam() -> None:
    torch.manual_seed(0)
    states = scene()[3]
    turned, opposite = states.clone(), states.clone()
    turned[..., 4] += 0.3
    opposite[..., 4] += math.pi
    decoder = RotatedDinoDecoder(1, LAYER, angle_in_query=True)
    assert not torch.allclose(decoder.positions(turned, None), decoder.positions(states, None), atol=1e-4)
    assert torch.allclose(decoder.positions(opposite, None), decoder.positions(states, None), atol=1e-5)


def test_padding_of_another_image_does_not_matter() -> None:
    torch.manual_seed(0)
    decoder, heads = RotatedDinoDecoder(2, LAYER), branches(2)
    feats, query, _, states = scene()
    alone = decoder(
        query, None, states, FlatLevels.join(feats, None), frame_of([(64, 112)], (64, 112)), heads, BoxState()
    )
    wide = [nn.functional.pad(feat, (0, 16 // stride, 0, 0), value=9.0) for feat, stride in zip(feats, (8, 16))]
    wide = [nn.functional.pad(feat, (0, 0, 0, 32 // stride), value=9.0) for feat, stride in zip(wide, (8, 16))]
    frame = frame_of([(64, 112)], (96, 128))
    from stn_det.models.layers.flat_levels import padding_masks

    padded = FlatLevels.join(wide, padding_masks(wide, frame))
    among = decoder(query, None, states, padded, frame, heads, BoxState())
    for left, right in zip(alone.hidden + alone.deltas, among.hidden + among.deltas):
        assert torch.allclose(left, right, atol=1e-4)

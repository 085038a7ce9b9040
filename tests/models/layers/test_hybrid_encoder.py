"""The hybrid encoder: who sees whom, padding, sizes, and one convolution in place of two."""

import doctest
import sys

import pytest
import torch
from torch import Tensor

from stn_det.errors import ConfigError, InputError
from stn_det.models.layers import CSPRepLayer, HybridEncoder, RepVGGBlock

CHANNELS = (6, 8, 12)


def encoder(**options: object) -> HybridEncoder:
    """A small encoder in evaluation mode, whose norms are not the identity."""
    settings = dict(out_channels=16, num_heads=2, feedforward_channels=24, num_blocks=1)
    made = HybridEncoder(CHANNELS, **{**settings, **options})
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    return made.eval()


def features(height: int = 32, width: int = 24, batch: int = 1, **options: object) -> list[Tensor]:
    """Levels of three strides of 2, rounded up."""
    levels = []
    for channels in CHANNELS:
        levels.append(torch.randn(batch, channels, height, width, **options))
        height, width = (height + 1) // 2, (width + 1) // 2
    return levels


def moved(model: HybridEncoder, level: int, change: tuple[int, int], feats: list[Tensor]) -> list[Tensor]:
    """Where (H, W) the outputs change when one cell of one input does."""
    other = [feat.clone() for feat in feats]
    other[level][..., change[0], change[1]] += 1.0
    with torch.no_grad():
        return [((a - b).abs() > 1e-9).any(1)[0] for a, b in zip(model(feats), model(other))]


@pytest.mark.parametrize('size', [(32, 24), (33, 25), (7, 9), (1, 1)])
def test_sizes_stay(size: tuple[int, int]) -> None:
    feats = features(*size, batch=2)
    outs = encoder()(feats)
    assert isinstance(outs, tuple)
    assert [out.shape for out in outs] == [(2, 16, *feat.shape[-2:]) for feat in feats]


def test_one_level_is_projected_and_attended() -> None:
    model = HybridEncoder([6], out_channels=16, num_heads=2, feedforward_channels=24).eval()
    feat = torch.randn(1, 6, 4, 5)
    torch.testing.assert_close(model([feat])[0], model.attend(model.projections[0](feat)))


def test_the_coarsest_level_is_seen_everywhere() -> None:
    changed = moved(encoder().double(), 2, (0, 0), features(dtype=torch.float64))
    assert all(where.all() for where in changed)


def test_without_transformer_it_is_seen_nearby_only() -> None:
    changed = moved(encoder(num_layers=0).double(), 2, (0, 0), features(64, 64, dtype=torch.float64))
    for where in changed:
        assert where[0, 0]
        assert not where[-1, -1]


def test_cells_of_finer_levels_do_not_attend() -> None:
    """The way down and up spreads a cell of the finest level to all levels, but not across the image."""
    changed = moved(encoder().double(), 0, (0, 0), features(64, 64, dtype=torch.float64))
    for where in changed:
        assert where[0, 0]
        assert not where[-1, -1]


def test_positions_tell_equal_cells_apart() -> None:
    model = encoder()
    level = torch.randn(1, 16, 3, 4)
    level[..., 2, 1] = level[..., 0, 3]
    out = model.attend(level)
    assert (out[..., 2, 1] - out[..., 0, 3]).abs().max() > 1e-3
    model.positions.forward = lambda mask, level: torch.zeros_like(level)
    out = model.attend(level)
    torch.testing.assert_close(out[..., 2, 1], out[..., 0, 3])


def test_transformer_starts_as_that_of_detr() -> None:
    model = encoder()
    model.init_weights()
    weight = model.transformer.layers[0].ffn.layers[1].weight  # (16, 24), the second matrix
    bound = (6 / (16 + 24)) ** 0.5
    assert 0.9 * bound < weight.abs().max() <= bound


def test_attention_by_hand() -> None:
    """One head and matrices that are the identity: softmax(q k / sqrt(C)) of cells with their positions."""
    model = HybridEncoder([8], out_channels=8, num_heads=1, feedforward_channels=8).double().eval()
    layer = model.transformer.layers[0]
    with torch.no_grad():
        layer.self_attn.attn.in_proj_weight.copy_(torch.eye(8).repeat(3, 1))
        layer.self_attn.attn.in_proj_bias.zero_()
        layer.self_attn.attn.out_proj.weight.copy_(torch.eye(8))
        layer.self_attn.attn.out_proj.bias.zero_()
        layer.ffn.layers[1].weight.zero_()
        layer.ffn.layers[1].bias.zero_()
    level = torch.randn(1, 8, 2, 3, dtype=torch.float64)
    tokens = level.flatten(2)[0].T
    places = tokens + model.positions(None, level).double().flatten(2)[0].T
    tokens = tokens + torch.softmax(places @ places.T / 8**0.5, -1) @ tokens
    for _ in range(2):  # behind attention and behind the feed-forward network, which adds nothing
        tokens = torch.nn.functional.layer_norm(tokens, (8,))
    torch.testing.assert_close(model.attend(level), tokens.T.view(1, 8, 2, 3))


def test_padding_is_not_attended_to() -> None:
    model = encoder()
    level, mask = torch.randn(2, 16, 5, 6), torch.zeros(2, 5, 6, dtype=torch.bool)
    mask[1, :, 4:] = True
    mask[1, 3:] = True
    outs = model.attend(level, mask)
    level[1, :, :, 4:] = 100.0
    level[1, :, 3:] = -100.0
    again = model.attend(level, mask)
    torch.testing.assert_close(again[0], outs[0])
    torch.testing.assert_close(again[1, :, :3, :4], outs[1, :, :3, :4])
    # an image attends as it does without the padding beside it
    alone = model.attend(level[1:, :, :3, :4])
    torch.testing.assert_close(outs[1:, :, :3, :4], alone, rtol=1e-4, atol=1e-5)


def test_an_image_smaller_than_half_a_cell() -> None:
    model, level = encoder(), torch.randn(2, 16, 2, 3)
    mask = torch.ones(2, 2, 3, dtype=torch.bool)
    mask[0, 0, 0] = False
    outs = model.attend(level, mask)
    assert outs.isfinite().all()
    torch.testing.assert_close(outs[1:], model.attend(level[1:]))


def test_masks_reach_the_attention_and_may_be_none() -> None:
    model, feats = encoder(), features()
    plain = model(feats)
    nothing = [torch.zeros(1, *feat.shape[-2:], dtype=torch.bool) for feat in feats]
    for masks in (None, [None, None, None], nothing):
        torch.testing.assert_close(model(feats, masks), plain)
    nothing[-1][..., 4:] = True
    assert not torch.allclose(model(feats, nothing)[-1], plain[-1], atol=1e-3)


def test_evaluation_folds_every_block() -> None:
    model, feats = encoder(num_blocks=2).double(), features(dtype=torch.float64)
    blocks = [module for module in model.modules() if isinstance(module, RepVGGBlock)]
    assert len(blocks) == 2 * 4
    folded = model(feats)
    for block in blocks:
        assert block.foldable
        block.forward = lambda x, block=block: block.activate(block.wide(x) + block.narrow(x))
    torch.testing.assert_close(model(feats), folded)


def test_csp_layer_adds_its_two_paths() -> None:
    layer = CSPRepLayer(6, 8, 0, 0.5, norm_cfg=dict(type='BN'), act_cfg=dict(type='SiLU')).eval()
    x = torch.randn(1, 6, 4, 4)
    torch.testing.assert_close(layer(x), layer.out(layer.main(x) + layer.short(x)))
    assert layer.main.conv.out_channels == 4


def test_every_parameter_learns_in_training() -> None:
    model = encoder(dropout=0.1).train()
    sum(out.square().mean() + out.mean() for out in model(features(batch=2))).backward()
    still = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.abs().any()]
    # a bias of the keys moves all scores of a query alike, and batch norms of what follows take no such thing
    assert not [name for name in still if 'attn.in_proj_bias' not in name]


def test_bfloat16_stays_near_float32() -> None:
    model, feats = encoder(), features(batch=2)
    masks = [torch.zeros(2, *feat.shape[-2:], dtype=torch.bool) for feat in feats]
    expected = model(feats, masks)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        outs = model(feats, masks)
    for out, level in zip(outs, expected):
        assert (out.float() - level).abs().max() < 0.05 * level.abs().max()


def test_a_config_does_not_change() -> None:
    norm, positions = dict(type='BN'), dict(normalize=False)
    encoder(norm_cfg=norm, positional_encoding=positions)
    assert norm == dict(type='BN')
    assert positions == dict(normalize=False)


def test_errors() -> None:
    with pytest.raises(ConfigError, match='in_channels is empty'):
        HybridEncoder([])
    with pytest.raises(ConfigError, match=r'out_channels is 20; expected a multiple of 4 .* and of num_heads, 8'):
        HybridEncoder([4], out_channels=20)
    model, feats = encoder(), features()
    with pytest.raises(InputError, match=r'got 2 levels and has in_channels \(6, 8, 12\)'):
        model(feats[:2])
    with pytest.raises(InputError, match='got 3 levels and 1 masks'):
        model(feats, [None])
    with pytest.raises(InputError, match=r'sizes \[\(32, 24\), \(16, 12\), \(7, 6\)\]; expected each to be half'):
        model([*feats[:2], feats[2][..., :7, :]])
    with pytest.raises(InputError, match=r'mask of size \(32, 24\) for a coarsest level of \(8, 6\)'):
        model(feats, [None, None, torch.zeros(1, 32, 24, dtype=torch.bool)])


def test_example() -> None:
    module = sys.modules[HybridEncoder.__module__]
    assert doctest.testmod(module).attempted >= 4
    assert doctest.testmod(module).failed == 0

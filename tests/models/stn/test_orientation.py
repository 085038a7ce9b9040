"""Which way is up: the same answer for a tile and for its turns, before and after training."""

import math

import pytest
import torch
from mmdet.registry import MODELS

from stn_det.errors import ConfigError
from stn_det.geometry.warp import MatrixWarp
from stn_det.models.stn import orientation_prior_loss


def build(num_orientations=8, **options):
    return MODELS.build(
        dict(type='OrientationLocalizer', num_orientations=num_orientations, channels=(8, 16, 16), **options)
    )


def trained_by_chance(localizer):
    """Scores that differ, without training."""
    torch.nn.init.normal_(localizer.score.weight)
    return localizer


def arrows(count, side=32, generator=None):
    """Bars with a head at their upper end, somewhere near the middle."""
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing='ij')
    shift = 4 * (torch.rand(count, 2, 1, 1, generator=generator) - 0.5)
    x, y = x - side / 2 - shift[:, 0], y - side / 2 - shift[:, 1]
    bar = (x.abs() < 1.5) & (y.abs() < 10)
    head = (x.abs() < 5) & ((y + 8).abs() < 2)
    image = (bar | head).float()[:, None]
    return image + 0.05 * torch.randn(image.shape, generator=generator)


@pytest.mark.parametrize('size', [(32, 32), (33, 47), (64, 20)])
def test_the_first_turn_wins_at_the_start(size):
    localizer = build()
    localizer.init_weights()
    logits = localizer(torch.randn(3, 3, *size))
    assert torch.equal(logits, torch.zeros(3, 8))
    assert localizer.angles(logits).tolist() == [0, 0, 0]


@pytest.mark.parametrize('num_orientations', [4, 8])
@pytest.mark.parametrize('size', [(32, 32), (31, 31), (24, 40)])
@pytest.mark.parametrize('quarter', [1, 2, 3])
def test_a_quarter_turn_shifts_the_scores(num_orientations, size, quarter):
    localizer = trained_by_chance(build(num_orientations))
    tile = torch.randn(2, 3, *size)
    turned = torch.rot90(tile, -quarter, (2, 3))  # clockwise on screen
    scores, shifted = localizer(tile), localizer(turned)
    assert scores.std() > 0.05
    assert torch.allclose(shifted, scores.roll(-quarter * num_orientations // 4, 1), atol=1e-4)
    steps = (localizer.angles(scores) - localizer.angles(shifted)) / (math.pi / 2)
    assert torch.allclose(steps.round() % 4, torch.full_like(steps, quarter))


@pytest.mark.parametrize('quarter', [1, 2, 3])
def test_a_turned_tile_is_turned_back_to_the_same_picture(quarter):
    transformer = MODELS.build(
        dict(
            type='SpatialTransformer',
            localizer=None,
            orientation=dict(type='OrientationLocalizer', num_orientations=8, channels=(8, 16)),
        )
    )
    trained_by_chance(transformer.orientation)
    tile = torch.rand(4, 3, 48, 48)
    upright = transformer(tile)
    again = transformer(torch.rot90(tile, -quarter, (2, 3)))
    assert torch.allclose(again.images, upright.images, atol=1e-5)
    turn = MatrixWarp.from_parameters(torch.full((4, 1), quarter * math.pi / 2), 'rotation', 48)
    composed = again.warp.after(turn).dst_from_src
    assert torch.allclose(composed, upright.warp.dst_from_src, atol=1e-5)
    assert not upright.parameters.any()


def test_corners_say_nothing():
    localizer = trained_by_chance(build())
    tile = torch.randn(2, 3, 32, 32)
    marked = tile.clone()
    marked[..., :4, :4] = 100
    assert torch.allclose(localizer(marked), localizer(tile), atol=1e-5)


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_scores_that_are_not_finite_turn_nothing(value):
    logits = torch.zeros(2, 8)
    logits[:, 3] = 1
    logits[0, 5] = value
    assert build().angles(logits).tolist() == pytest.approx([0, 3 * math.pi / 4])


def test_a_margin_is_asked_of_turns_in_testing_alone():
    localizer = build(margin=1.5)
    logits = torch.tensor([[0.0, 0, 1.4, 0, 0, 0, 0, 0], [0.0, 0, 1.6, 0, 0, 0, 0, 0]])
    assert localizer.train().angles(logits).tolist() == pytest.approx([math.pi / 2, math.pi / 2])
    assert localizer.eval().angles(logits).tolist() == pytest.approx([0, math.pi / 2])
    with pytest.raises(ConfigError, match=r'margin is -1, expected 0 or more'):
        build(margin=-1)


def test_features_are_computed_of_the_turned_thumbnail():
    localizer = trained_by_chance(build(4, in_channels=2))
    tile, seen = torch.randn(2, 3, 32, 32), []

    def features(views):
        seen.append(tuple(views.shape))
        return views[:, :2].square()

    scores, shifted = localizer(tile, features), localizer(torch.rot90(tile, -1, (2, 3)), features)
    assert seen == [(8, 3, 32, 32)] * 2
    assert torch.allclose(shifted, scores.roll(-1, 1), atol=1e-4)


def test_upright_tiles_teach_the_way_back():
    """Trained on upright arrows only; finds the turn of tiles turned by steps that it never saw."""
    generator = torch.Generator().manual_seed(2)
    localizer = build(in_channels=1)
    optimizer = torch.optim.Adam(localizer.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        orientation_prior_loss(localizer(arrows(8, generator=generator))).backward()
        optimizer.step()
    steps = torch.arange(8)
    turn = MatrixWarp.from_parameters(steps[:, None] * math.pi / 4, 'rotation', 32)
    logits = localizer.eval()(turn.transform_images(arrows(8, generator=generator)))
    assert logits.argmax(1).tolist() == ((8 - steps) % 8).tolist()


def test_with_a_residual_and_steps():
    transformer = MODELS.build(
        dict(type='SpatialTransformer', orientation=dict(type='OrientationLocalizer', channels=(8,)), num_steps=2)
    )
    trained_by_chance(transformer.orientation)
    torch.nn.init.normal_(transformer.localizer.output.weight, std=0.05)
    tile = torch.rand(3, 3, 48, 48)
    upright, again = transformer(tile), transformer(torch.rot90(tile, -1, (2, 3)))
    assert upright.parameters.abs().max() > 1e-3
    assert torch.allclose(again.images, upright.images, atol=1e-3)


def test_too_few_turns():
    with pytest.raises(ConfigError, match='num_orientations is 1, expected 2 or more'):
        build(1)

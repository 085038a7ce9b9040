"""Alignment of two sensors: untouched features at the start, the right direction, a warp that is learnt, odd inputs."""

import copy
import doctest
import sys

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from stn_det.errors import ConfigError, InputError
from stn_det.geometry import transform_points
from stn_det.geometry.warp import FAMILIES, MatrixWarp
from stn_det.models import CrossSensorAlign

STRIDES = (4, 8, 16)
CHANNELS = (6, 8, 10)


def build(**kwargs) -> CrossSensorAlign:
    """A small module for levels of strides 4, 8 and 16."""
    config = dict(type='CrossSensorAlign', in_channels=CHANNELS, strides=STRIDES, embed_channels=16, radius=3)
    align = MODELS.build({**config, **kwargs})
    align.init_weights()
    return align


def levels(size: tuple[int, int] = (68, 100), batch: int = 2) -> list[Tensor]:
    """Random levels, of odd sizes by default."""
    return [torch.randn(batch, c, -(-size[0] // s), -(-size[1] // s)) for c, s in zip(CHANNELS, STRIDES)]


def shift(dx: float, dy: float, batch: int = 2) -> Tensor:
    """Matrices (N, 3, 3) that move points."""
    matrix = torch.eye(3, dtype=torch.float64).repeat(batch, 1, 1)
    matrix[:, 0, 2], matrix[:, 1, 2] = dx, dy
    return matrix


def samples(second_from_first: Tensor) -> list[DetDataSample]:
    """Metadata of pairs whose misalignment is known."""
    return [DetDataSample(metainfo=dict(second_from_first=matrix.numpy())) for matrix in second_from_first]


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('training', [True, False])
def test_untrained_module_passes_features_on_bit_for_bit(family: str, training: bool) -> None:
    align = build(family=family, init_cfg=dict(type='Normal', layer='Conv2d', std=1.0)).train(training)
    second = levels()
    aligned, info = align(levels(), second)
    for level, result in zip(second, aligned):
        assert torch.equal(result, level)
    assert torch.equal(info['warp'].dst_from_src, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))
    assert sorted(info['flows']) == [4, 8]
    assert all(flow.eq(0).all() for flow in info['flows'].values())


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_pass_through_under_autocast_and_for_other_layouts(dtype: torch.dtype) -> None:
    first, second = ([level.to(dtype).transpose(2, 3) for level in levels()] for _ in range(2))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        aligned, info = build()(first, second)
    for level, result in zip(second, aligned):
        assert result.dtype == dtype
        assert torch.equal(result, level)
    assert info['confidence'][0].dtype == torch.float32


def test_a_module_in_half_precision_runs() -> None:
    align = build().bfloat16()
    second = [level.bfloat16() for level in levels()]
    assert torch.equal(align(second, second)[0][0], second[0])


def test_confidence_has_the_size_of_every_level_and_its_range() -> None:
    first = levels()
    confidence = build()(first, first)[1]['confidence']
    assert [level.shape for level in confidence] == [(2, 1, *level.shape[-2:]) for level in first]
    assert all(level.min() >= 0 and level.max() <= 1 for level in confidence)


def test_features_move_to_where_the_warp_says() -> None:
    """An open gate finds a shift of whole cells, and brings every level back by it."""
    align = build(residual_strides=())
    nn.init.constant_(align.coarse.gate, 0.1)
    nn.init.constant_(align.coarse.log_sharpness, 3.5)
    first = levels((128, 160))
    second = [level.roll((-16 // s, 16 // s), (2, 3)) for level, s in zip(first, STRIDES)]  # content moves by (16, -16)
    with torch.no_grad():
        aligned, info = align(first, second)
    back = info['warp'].transform_points(torch.tensor([[[66.0, 34.0]]] * 2))
    assert (back - torch.tensor([50.0, 50.0])).abs().max() < 0.5
    for level, result, s in zip(first, aligned, STRIDES):
        inner = (..., slice(32 // s, -32 // s), slice(32 // s, -32 // s))
        before = (second[STRIDES.index(s)][inner] - level[inner]).abs().mean()
        assert (result[inner] - level[inner]).abs().mean() < 0.15 * before


def test_residual_offsets_point_into_the_second_image_and_are_bounded() -> None:
    align = build(max_residual=6.0)
    for residual in align.residuals.values():
        nn.init.constant_(residual.flow.bias[0:1], 100.0)  # x
    second = levels((64, 96))
    aligned, info = align(levels((64, 96)), second)
    assert all(
        flow[:, 0].max() <= 6 and flow[:, 0].min() > 5.9 and flow[:, 1].eq(0).all() for flow in info['flows'].values()
    )
    x = 0.5 * second[0][..., 1:-1] + 0.5 * second[0][..., 2:]  # 6 pixels: a cell and a half to the right
    assert torch.allclose(aligned[0][..., :-2], x, atol=1e-3)
    assert torch.equal(aligned[2], second[2])  # no residual at stride 16


def test_losses_are_zero_for_the_truth_and_positive_for_another() -> None:
    align, first = build(), levels()
    info = align(first, first)[1]
    right, wrong = align.loss(info, samples(shift(0, 0))), align.loss(info, samples(shift(6, -4)))
    assert sorted(right) == ['loss_align_corner', 'loss_align_flow', 'loss_align_match', 'loss_align_smooth']
    assert right['loss_align_corner'] == right['loss_align_flow'] == right['loss_align_smooth'] == 0
    assert wrong['loss_align_corner'] > 0.1
    assert wrong['loss_align_flow'] > 0.1
    assert wrong['loss_align_match'] > right['loss_align_match'] > 0


def test_gradients_reach_all_parts() -> None:
    align = build(family='affine')
    nn.init.constant_(align.coarse.gate, 0.05)
    for residual in align.residuals.values():
        nn.init.normal_(residual.flow.weight, std=0.1)
    first, second = ([level.requires_grad_() for level in levels()] for _ in range(2))
    aligned, info = align(first, second)
    total = sum(level.square().mean() for level in aligned) + sum(align.loss(info, samples(shift(5, 3))).values())
    total.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in align.parameters())
    assert all(level.grad.abs().sum() > 0 for level in (*first[:2], *second))


def test_pairs_without_truth_give_zero_with_a_gradient() -> None:
    align = build()
    losses = align.loss(align(levels(), levels())[1], [DetDataSample(), DetDataSample()])
    sum(losses.values()).backward()
    assert all(loss.item() == 0 for loss in losses.values())
    assert align.coarse.gate.grad.eq(0).all()


def test_inverse_consistency_is_an_option() -> None:
    align = build(loss_weights=dict(inverse=0.5, corner=0, match=0, flow=0, smooth=0))
    nn.init.constant_(align.coarse.gate, 0.1)
    first, second = levels(), levels()
    losses = align.loss(align(first, second)[1], samples(shift(0, 0)))
    assert list(losses) == ['loss_align_inverse']
    assert losses['loss_align_inverse'] > 0
    assert 'back' not in align.eval()(first, second)[1]


class Textures:
    """Smooth random textures seen twice, shifted, through fixed random features of strides 8 and 16."""

    size = 96

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        weights = torch.Generator().manual_seed(99)
        self.weight = torch.randn(24, 3, 9, 9, generator=weights)

    def _image(self, count: int) -> Tensor:
        """Images with a border of 32 pixels."""
        noise = torch.randn(count, 3, 20, 20, generator=self.generator)
        return F.interpolate(noise, size=(self.size + 64,) * 2, mode='bicubic', align_corners=False)

    def _features(self, image: Tensor) -> list[Tensor]:
        hidden = F.conv2d(image, self.weight, padding=4, stride=2).relu()
        return [F.avg_pool2d(hidden, 4), F.avg_pool2d(hidden, 8)]

    def batch(self, count: int, largest: float = 16.0) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Levels of both sensors and ``second_from_first``."""
        image = self._image(count)
        moves = largest * (2 * torch.rand(count, 2, generator=self.generator, dtype=torch.float64) - 1)
        matrix = shift(0, 0, count)
        matrix[:, :2, 2] = moves
        views = []
        for second_from_first in (shift(0, 0, count), matrix):
            warp = MatrixWarp(second_from_first @ shift(-32, -32, count), image.shape[-2:], self.size)
            views.append(self._features(warp.transform_images(image)))
        return *views, matrix


def corner_error(align: CrossSensorAlign, textures: Textures) -> Tensor:
    """Mean distance (N,) of the corners of the frame from where they belong, pixels."""
    first, second, truth = textures.batch(16)
    with torch.no_grad():
        warp = align.eval()(first, second)[1]['warp']
    size = float(textures.size)
    corners = torch.tensor([[0, 0], [size, 0], [size, size], [0, size]], dtype=torch.float64)
    found = warp.transform_points(transform_points(corners, truth[:, None]))
    return (found - corners).norm(dim=-1).mean(1)


def test_a_short_training_finds_shifts_of_other_images() -> None:
    align = build(in_channels=(24, 24), strides=(8, 16), residual_strides=())
    before = corner_error(align, Textures(seed=1))
    training = Textures(seed=2)
    optimizer = torch.optim.Adam(align.parameters(), lr=0.01)
    for _ in range(20):
        first, second, truth = training.batch(4)
        loss = sum(align.train().loss(align(first, second)[1], samples(truth)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = corner_error(align, Textures(seed=1))
    assert before.mean() > 8
    assert after.mean() < 1
    assert after.max() < 2


def test_levels_that_do_not_fit_are_refused() -> None:
    align, first, second = build(), levels(), levels()
    with pytest.raises(InputError, match='first sensor got 2 levels of shapes'):
        align(first[:2], second)
    with pytest.raises(InputError, match=r'second sensor: level 1 has shape \(2, 6, 17, 25\), expected \(N, 8, H, W\)'):
        align(first, [second[0], second[0], second[2]])
    with pytest.raises(InputError, match=r'level 0 of the first sensor has shape .*, of the second \(2, 6, 15, 25\)'):
        align(first, [second[0][:, :, 2:], *second[1:]])
    with pytest.raises(InputError, match=r'level of stride 16 has \(4, 7\) cells, expected \(5, 7\) for the 68 x 100'):
        align([*first[:2], first[2][:, :, 1:]], [*second[:2], second[2][:, :, 1:]])


@pytest.mark.parametrize(
    ('kwargs', 'error', 'match'),
    [
        (dict(in_channels=(6, 8)), ConfigError, r'strides is \(4, 8, 16\), in_channels \[6, 8\]'),
        (dict(coarse_stride=32), ConfigError, r'coarse_stride is 32; expected one of \(4, 8, 16\)'),
        (dict(max_residual=0), ConfigError, 'max_residual is 0; expected pixels above 0'),
        (dict(radius=0), ConfigError, 'radius is 0, iterations 3, support 5; expected at least 1'),
        (dict(support=4), ConfigError, 'support 4; expected at least 1 of each, and an odd support'),
        (dict(loss_weights=dict(corners=1)), ConfigError, r"loss_weights has \['corners'\]; expected names among"),
        (dict(family='spline'), InputError, "family is 'spline', expected one of"),
        (dict(limits=dict(shift=0)), InputError, 'shift is 0, expected a limit above 0'),
    ],
)
def test_impossible_settings_are_refused(kwargs: dict, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        build(**kwargs)


def test_it_is_copied_and_saved_after_a_forward_pass() -> None:
    align, first = build(), levels()
    align(first, first)
    again = build()
    again.load_state_dict(copy.deepcopy(align).state_dict())


def test_the_example_holds() -> None:
    results = doctest.testmod(sys.modules['stn_det.models.stn.cross_sensor_align'])
    assert results.attempted > 0
    assert results.failed == 0

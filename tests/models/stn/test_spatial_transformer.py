"""Spatial transformers of whole images: nothing happens before they have learned, and then exactly one resampling."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from torch import nn

from stn_det.errors import ConfigError, InputError
from stn_det.geometry.warp import FAMILIES, MatrixWarp, ThinPlateWarp, bound

ALL = (*FAMILIES, 'thin_plate')
SMALL = dict(type='LocalizationNetwork', channels=(8, 8, 8), pool=2, hidden=8)


class Constant(nn.Module):
    """A localiser that has made up its mind; it keeps what it was shown."""

    def __init__(self, numbers):
        super().__init__()
        self.numbers, self.seen = nn.Parameter(torch.as_tensor(numbers)), []

    def forward(self, thumbnail):
        self.seen.append(thumbnail)
        return self.numbers.expand(len(thumbnail), -1)


def build(**options):
    return MODELS.build({'type': 'SpatialTransformer', 'localizer': SMALL, **options})


def fixed(numbers, **options):
    transformer = build(**options)
    transformer.localizer = Constant(numbers)
    return transformer


@pytest.mark.parametrize('family', ALL)
@pytest.mark.parametrize('size', [(32, 32), (33, 47), (200, 31), (1, 17)])
@pytest.mark.parametrize('num_steps', [1, 3])
def test_identity_bit_for_bit_at_the_start(family, size, num_steps):
    images = torch.randn(2, 3, *size)
    transformer = build(family=family, num_steps=num_steps, thumbnail=32)
    transformer.init_weights()
    found = transformer(images)
    assert torch.equal(found.images, images)
    assert not found.parameters.any()
    assert found.logits is found.sigma is None
    points = torch.rand(2, 4, 2) * 17
    assert torch.equal(found.warp.transform_points(points), points)


@pytest.mark.parametrize('family', ALL)
def test_identity_survives_the_initialisation_of_the_model_around_it(family):
    transformer = build(family=family, init_cfg=dict(type='Normal', layer=['Linear', 'Conv2d'], std=1.0))
    transformer.init_weights()
    assert transformer.localizer.hidden.weight.std() > 0.5
    images = torch.randn(2, 3, 40, 50)
    assert torch.equal(transformer(images).images, images)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_dtypes(dtype):
    transformer = build().to(dtype)
    images = torch.randn(2, 3, 40, 50, dtype=dtype)
    found = transformer(images)
    assert torch.equal(found.images, images)
    assert found.parameters.dtype == torch.float64


@pytest.mark.parametrize(
    ('size', 'expected'),
    [((64, 64), (16, 16)), ((40, 100), (6, 16)), ((16, 9), (16, 9)), ((1000, 3), (16, 1)), ((5, 7), (5, 7))],
)
def test_thumbnail_keeps_the_aspect(size, expected):
    transformer = fixed([0.0, 0, 0, 0], thumbnail=16, num_steps=2)
    transformer(torch.rand(1, 3, *size))
    assert [tuple(seen.shape[2:]) for seen in transformer.localizer.seen] == [expected, expected]


@pytest.mark.parametrize('family', FAMILIES)
def test_steps_are_composed_and_the_original_is_resampled_once(family):
    raw = 0.2 * torch.randn(1, len(FAMILIES[family]))
    images = torch.rand(2, 3, 41, 56)
    found = fixed(raw, family=family, num_steps=3)(images)
    limits = dict(rotation=math.pi / 3, log_scale=math.log(2) / 3, stretch=math.log(1.5) / 3, shift=0.5 / 3, tilt=0.05)
    update = bound(raw.double(), family, limits)
    step = MatrixWarp.from_parameters(update.expand(2, -1), family, (41, 56))
    expected = step @ step @ step
    assert torch.allclose(found.warp.dst_from_src, expected.dst_from_src, rtol=1e-12)
    assert torch.equal(found.images, expected.transform_images(images, antialias=True))
    assert torch.allclose(found.parameters, 3 * update.expand(2, -1))


def test_steps_of_thin_plates_are_added():
    raw = 0.05 * torch.randn(1, 18)
    images = torch.rand(2, 3, 41, 56)
    found = fixed(raw, family='thin_plate', grid=3, num_steps=2, limits=dict(displacement=math.inf))(images)
    expected = ThinPlateWarp.from_parameters(2 * raw.double().expand(2, -1), (41, 56))
    assert torch.allclose(found.warp.displacements, expected.displacements, rtol=1e-12)
    assert torch.equal(found.images, expected.transform_images(images))


@pytest.mark.parametrize('family', ALL)
def test_the_next_step_sees_what_the_first_has_done(family):
    """In the frame of the thumbnail: as if the warped image had been reduced."""
    count = 32 if family == 'thin_plate' else len(FAMILIES[family])
    y, x = torch.meshgrid(torch.arange(120) + 0.5, torch.arange(90) + 0.5, indexing='ij')
    images = (1 + (x / 9).sin() * (y / 11).cos())[None, None].expand(1, 3, -1, -1)
    transformer = fixed(0.1 * torch.randn(1, count), family=family, num_steps=2, thumbnail=40)
    transformer(images)
    first = transformer.poses.step(transformer.poses.start(1, (120, 90), images.device), transformer.localizer.numbers)
    warped = first.warp.transform_images(images)
    expected = MatrixWarp.scaling(1, (120, 90), 1 / 3).transform_images(warped, antialias=True)
    seen = transformer.localizer.seen[1]
    assert seen.shape == expected.shape == (1, 3, 40, 30)
    inner = (seen - expected)[..., 8:-8, 8:-8].abs()
    assert inner.max() < 0.06
    assert (transformer.localizer.seen[0] - expected)[..., 8:-8, 8:-8].abs().max() > 0.15


@pytest.mark.parametrize('num_steps', [1, 4])
def test_limits_hold_for_the_sum_of_the_steps(num_steps):
    extreme = fixed([1e9] * 4, family='similarity', num_steps=num_steps, limits=dict(rotation=0.3, log_scale=0.2))
    warp, parameters, _ = extreme.estimate(torch.zeros(1, 3, 64, 64))
    assert torch.allclose(parameters[0], torch.tensor([0.3, 0.2, 0.5, 0.5], dtype=torch.float64))
    assert torch.allclose(warp.log_det(), torch.tensor(0.4, dtype=torch.float64))
    spline = fixed([1e9] * 18, family='thin_plate', grid=3, num_steps=num_steps)
    assert torch.allclose(spline.estimate(torch.zeros(1, 3, 64, 64))[1], torch.tensor(0.2, dtype=torch.float64))


@pytest.mark.parametrize('family', ALL)
def test_gradient_reaches_the_localiser_after_the_first_step(family):
    transformer = build(family=family, num_steps=2)
    optimizer = torch.optim.SGD(transformer.parameters(), 0.1)
    images, target = torch.rand(2, 3, 24, 31), torch.rand(2, 3, 24, 31)
    for _ in range(2):
        optimizer.zero_grad()
        (transformer(images).images - target).square().mean().backward()
        optimizer.step()
    for name, weight in transformer.named_parameters():
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


def test_gradient_is_right_through_all_steps():
    transformer = fixed(0.1 * torch.randn(4, dtype=torch.float64), num_steps=2, antialias=False)
    images = torch.rand(1, 3, 9, 8, dtype=torch.float64)

    def warped(numbers):
        return torch.func.functional_call(transformer, {'localizer.numbers': numbers}, images)[:3:2]

    assert torch.autograd.gradcheck(warped, transformer.localizer.numbers.detach().requires_grad_())


@pytest.mark.parametrize('family', ALL)
@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_change_nothing(family, value):
    transformer = build(family=family, num_steps=2)
    with torch.no_grad():
        transformer.localizer.output.bias[0] = 0.1
        transformer.localizer.output.bias[-1] = value
    images = torch.rand(2, 3, 24, 31)
    assert torch.equal(transformer(images).images, images)


def test_an_image_that_is_not_finite_does_not_touch_its_neighbour():
    transformer = build()
    nn.init.normal_(transformer.localizer.output.weight, std=0.1)
    images = torch.rand(2, 3, 24, 31)
    alone = transformer(images[1:])
    images[0, 0, 3, 4] = math.nan
    both = transformer(images)
    assert torch.allclose(both.images[1:], alone.images, atol=1e-6)
    assert not both.parameters[0].any()


def test_frozen_passes_images_on():
    transformer = fixed([0.3, 0.1, 0.1, 0.1])
    images = torch.rand(2, 3, 24, 31)
    transformer.frozen = True
    found = transformer(images)
    assert found.images is images
    assert not found.parameters.any()
    assert torch.equal(found.warp.dst_from_src, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))
    assert transformer.estimate(images)[1].any()
    transformer.frozen = False
    assert not torch.equal(transformer(images).images, images)


def test_estimate_is_the_warp_of_forward():
    transformer = fixed([0.3, 0.1, 0.1, 0.1], num_steps=2)
    images = torch.rand(2, 3, 24, 31)
    warp, parameters, logits = transformer.estimate(images)
    found = transformer(images)
    assert torch.equal(warp.dst_from_src, found.warp.dst_from_src)
    assert torch.equal(parameters, found.parameters)
    assert logits is None


def test_features_replace_the_thumbnail():
    seen = []

    def features(thumbnail):
        seen.append(tuple(thumbnail.shape))
        return thumbnail.mean(1, keepdim=True).repeat(1, 5, 1, 1)[..., ::2, ::2]

    transformer = build(localizer={**SMALL, 'in_channels': 5}, num_steps=2, thumbnail=32)
    images = torch.rand(2, 3, 64, 50)
    assert torch.equal(transformer(images, features).images, images)
    assert seen == [(2, 3, 32, 25)] * 2


def test_autocast_keeps_the_warp_exact():
    transformer = build(family='homography', num_steps=2)
    images = torch.rand(2, 3, 64, 50)
    with torch.autocast('cpu', torch.bfloat16):
        found = transformer(images)
        assert torch.equal(found.images, images)
        nn.init.normal_(transformer.localizer.output.weight, std=0.05)
        moved = transformer(images)
    moved.images.mean().backward()
    assert transformer.localizer.output.weight.grad.isfinite().all()
    assert moved.images.dtype == torch.float32
    there = moved.warp.dst_from_src @ moved.warp.inverse().dst_from_src
    assert torch.allclose(there, torch.eye(3, dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize(
    'options',
    [dict(num_steps=2, orientation=dict(type='OrientationLocalizer', channels=(8,))), dict(family='thin_plate')],
)
def test_compiles_without_a_break(options):
    transformer = build(**options)
    nn.init.normal_(transformer.localizer.output.weight, std=0.05)
    images = torch.rand(2, 3, 32, 40)

    def run(images):
        found = transformer(images)
        return found.images, found.parameters

    compiled = torch.compile(run, fullgraph=True, backend='aot_eager')
    for found, expected in zip(compiled(images), run(images)):
        assert torch.allclose(found, expected, atol=1e-5)


def test_samples_spread_around_the_most_likely_pose():
    transformer = fixed([0.1, 0.0, 0.05, 0.0] + [0.0] * 4, sigma=0.02, limits=dict(rotation=math.inf))
    images = torch.rand(1, 3, 24, 31).expand(500, -1, -1, -1)
    drawn = transformer.train()(images)
    assert torch.allclose(drawn.sigma, torch.full_like(drawn.sigma, 0.02))
    spread, mean = torch.std_mean(drawn.parameters.detach(), 0)
    assert spread.tolist() == pytest.approx([0.02] * 4, rel=0.15)
    assert mean.tolist() == pytest.approx([0.1, 0, 0.05, 0], abs=0.004)
    several = transformer.sample(images[:2], 3)
    assert len(several) == 3
    assert (several[0].parameters != several[1].parameters).all()
    for one in several:
        assert torch.equal(one.images, one.warp.transform_images(images[:2], antialias=True))
    sure = transformer.eval()(images[:2])
    assert torch.equal(sure.parameters, transformer.estimate(images[:2])[1])
    assert torch.equal(sure.parameters[0], sure.parameters[1])


def test_samples_of_no_spread_are_the_most_likely_pose():
    transformer = fixed([0.1, 0.0, 0.05, 0.0] + [-math.log(1e4)] * 4, sigma=1e-15)
    images = torch.rand(2, 3, 24, 31, dtype=torch.float64)
    assert torch.allclose(transformer.train()(images).images, transformer.eval()(images).images, atol=1e-12)


def test_the_spread_is_learned():
    transformer = build(sigma=0.1)
    loss = transformer(torch.rand(4, 3, 24, 31)).images.square().mean()
    loss.backward()
    assert transformer.localizer.output.bias.grad[4:].any()


def test_learns_to_undo_a_shift():
    """Blobs anywhere, a loss that wants them in the middle: a few hundred steps of a small network."""
    generator = torch.Generator().manual_seed(1)
    y, x = torch.meshgrid(torch.arange(24) + 0.5, torch.arange(24) + 0.5, indexing='ij')

    def blobs(centers):
        away = (x - centers[:, 0, None, None]) ** 2 + (y - centers[:, 1, None, None]) ** 2
        return (-away / 18).exp()[:, None]

    transformer = build(family='translation', limits=dict(shift=1.0), localizer={**SMALL, 'in_channels': 1})
    optimizer = torch.optim.Adam(transformer.parameters(), 5e-3)
    target, losses = blobs(torch.full((32, 2), 12.0)), []
    for _ in range(200):
        centers = 12 + 10 * (torch.rand(32, 2, generator=generator) - 0.5)
        optimizer.zero_grad()
        losses.append((transformer(blobs(centers)).images - target).square().mean())
        losses[-1].backward()
        optimizer.step()
    centers = 12 + 10 * (torch.rand(32, 2, generator=generator) - 0.5)
    warp, *_ = transformer.eval().estimate(blobs(centers))
    landed = warp.transform_points(centers[:, None])
    assert losses[-1] < losses[0] / 10
    assert (landed - 12).norm(dim=-1).mean() < 0.5  # of 3.8 at the start
    assert (centers - 12).norm(dim=-1).mean() > 3


def test_empty_batch():
    found = build(num_steps=2)(torch.zeros(0, 3, 40, 30))
    assert found.images.shape == (0, 3, 40, 30)
    assert found.parameters.shape == (0, 4)


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (dict(family='warp'), InputError, "family is 'warp', expected one of 'translation'"),
        (dict(padding_mode='mean'), InputError, "padding_mode is 'mean'"),
        (dict(num_steps=0), ConfigError, 'num_steps is 0'),
        (dict(sigma=-1.0), ConfigError, 'sigma -1.0'),
        (dict(localizer=None), ConfigError, 'localizer is None with orientation None'),
        (dict(limits=dict(turn=1.0)), InputError, 'limits names turn; expected some of rotation, log_scale'),
        (dict(limits=dict(shift=0.0)), InputError, 'shift is 0.0'),
        (dict(family='thin_plate', limits=dict(shift=1.0)), InputError, 'names shift; expected some of displacement'),
        (dict(family='thin_plate', limits=dict(displacement=0)), InputError, 'displacement is 0'),
        (dict(family='thin_plate', grid=1), ConfigError, 'grid is 1'),
        (dict(localizer={**SMALL, 'num_outputs': 3}), ConfigError, 'num_outputs is 3, but the warps need 4'),
    ],
)
def test_options_that_contradict(options, error, message):
    with pytest.raises(error, match=message):
        build(**options)


def test_inputs_that_do_not_fit():
    with pytest.raises(InputError, match=r'images has shape \(3, 40, 30\)'):
        build()(torch.zeros(3, 40, 30))
    with pytest.raises(InputError, match=r'images has dtype torch\.uint8'):
        build().estimate(torch.zeros(1, 3, 40, 30, dtype=torch.uint8))
    with pytest.raises(ConfigError, match='sigma is 0, so all samples would be equal'):
        build().sample(torch.zeros(1, 3, 40, 30), 2)

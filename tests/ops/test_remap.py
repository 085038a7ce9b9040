"""Reading at given points in both implementations: conventions, exactness, padding, wild points and errors."""

import doctest
import itertools
import math
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from stn_det.errors import InputError
from stn_det.ops import remap, warp_sample

pytestmark = pytest.mark.usefixtures('implementation')

MODES = ('bilinear', 'nearest', 'bicubic')
PADDINGS = ('zeros', 'border', 'reflection')
ALL = list(itertools.product(MODES, PADDINGS))
PROPERTY = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def centres(height: int, width: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Centres of all pixels (1, height, width, 2)."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij')
    return torch.stack([x, y], -1).to(dtype)[None]


def scattered(images: int, out: tuple[int, int], height: int, width: int, beyond: float = 2.0, seed: int = 3) -> Tensor:
    """Points (images, *out, 2) in and around an image, up to `beyond` times its size away."""
    part = torch.rand(images, *out, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ((part - 0.5) * beyond + 0.5) * torch.tensor([width, height], dtype=torch.float64)


def on_grid_sample(image: Tensor, points: Tensor, mode: str, padding: str) -> Tensor:
    """The same through a grid of normalised coordinates."""
    extent = torch.tensor([image.shape[3], image.shape[2]], dtype=torch.float64)
    return F.grid_sample(image, 2 * points / extent - 1, mode=mode, padding_mode=padding, align_corners=False)


def test_the_example_holds() -> None:
    found = doctest.testmod(sys.modules['stn_det.ops.remap'])
    assert found.attempted
    assert not found.failed


def test_known_values() -> None:
    image = torch.tensor([[[[0.0, 1, 2], [3, 4, 5]]]])
    points = torch.tensor([[[[1.5, 0.5], [2.0, 1.0], [2.5, 1.25]]]])
    assert remap(image, points).tolist() == [[[[1.0, 3.0, 4.25]]]]
    assert remap(image, points, 'nearest').tolist() == [[[[1.0, 2.0, 5.0]]]]  # ties go to even indices
    outside = torch.tensor([[[[0.0, 0.5], [-1.5, 1.5], [3.5, 1.5], [2.0, 3.0]]]])
    assert remap(image + 1, outside).tolist() == [[[[0.5, 0.0, 0.0, 0.0]]]]
    assert remap(image + 1, outside, padding_mode='border').tolist() == [[[[1.0, 4.0, 6.0, 5.5]]]]
    assert remap(image + 1, outside, padding_mode='reflection').tolist() == [[[[1.0, 5.0, 6.0, 4.0]]]]


@pytest.mark.parametrize(('mode', 'padding'), ALL)
def test_equals_grid_sample_and_its_gradients(checks, mode, padding) -> None:
    image, points = noise(2, 3, 23, 31), scattered(2, (29, 37), 23, 31)
    found = checks.gradients(lambda x, p: remap(x, p, mode, padding), (image, points))
    wanted = checks.gradients(lambda x, p: on_grid_sample(x, p, mode, padding), (image, points))
    for one, other in zip(found, wanted):
        assert (one - other).abs().max() <= 1e-12 * max(1.0, other.abs().max())


@pytest.mark.parametrize(('mode', 'padding'), ALL)
def test_equals_the_warp_at_the_points_of_a_matrix(mode, padding) -> None:
    image, matrix = (
        noise(1, 3, 23, 31),
        torch.tensor([[[0.913, -0.307, 4.1], [0.409, 1.217, -3.7]]], dtype=torch.float64),
    )
    points = centres(29, 37) @ matrix[0, :, :2].T + matrix[0, :, 2]
    wanted = warp_sample(image, matrix, (29, 37), mode, padding)
    torch.testing.assert_close(remap(image, points, mode, padding), wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('padding', PADDINGS)
def test_equals_opencv(mode, padding) -> None:
    """Half a pixel apart. OpenCV rounds bilinear and bicubic coordinates to 1/32 of a pixel, so these are."""
    cv2 = pytest.importorskip('cv2')  # no package of OpenMMLab, no OpenCV: operators need neither
    image = noise(1, 1, 23, 31).float()
    points = (scattered(1, (29, 37), 23, 31, 1.5).float() * 32).round() / 32
    if mode == 'nearest':
        points += 1 / 64  # no ties
    x, y = (points[0] - 0.5).unbind(-1)
    method = {'bilinear': cv2.INTER_LINEAR, 'nearest': cv2.INTER_NEAREST, 'bicubic': cv2.INTER_CUBIC}[mode]
    beyond = {'zeros': cv2.BORDER_CONSTANT, 'border': cv2.BORDER_REPLICATE, 'reflection': cv2.BORDER_REFLECT}[padding]
    wanted = cv2.remap(image[0, 0].numpy(), x.numpy(), y.numpy(), method, borderMode=beyond, borderValue=0)
    found = remap(image, points, mode, padding)[0, 0].numpy()
    np.testing.assert_allclose(found, wanted, atol=2e-6)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(('mode', 'padding'), ALL)
def test_centres_return_the_pixels_bit_for_bit(mode, padding, dtype) -> None:
    """Odd and even sizes; infinite and NaN neighbours stay where they are."""
    for height, width in ((7, 9), (8, 70), (1, 1), (2, 1357)):
        image = noise(2, 3, height, width).to(dtype)
        image[0, 1, height // 2, width // 3], image[1, 0, 0, -1], image[1, 2, -1, 0] = math.inf, math.nan, -math.inf
        for of_points in (torch.float32, torch.float64):
            result = remap(image, centres(height, width, of_points), mode, padding)
            assert result.dtype == dtype
            assert torch.equal(result.nan_to_num(nan=7.0), image.nan_to_num(nan=7.0))


def test_grid_sample_does_not_return_the_pixels() -> None:
    """Why the points are in pixels: of this image a grid from -1 to 1 in float32 misses many centres."""
    image = noise(1, 1, 3, 1001).float()
    points = centres(3, 1001, torch.float32)
    assert torch.equal(remap(image, points), image)
    grid = 2 * points / torch.tensor([1001.0, 3.0]) - 1
    assert (F.grid_sample(image, grid, align_corners=False) != image).float().mean() > 0.25


@PROPERTY
@given(x=st.integers(-40, 40), y=st.integers(-40, 40), mode=st.sampled_from(MODES))
def test_whole_shifts_copy(x, y, mode) -> None:
    image = noise(1, 2, 21, 34)
    result = remap(image, centres(21, 34) + torch.tensor([x, y]), mode)
    wanted = F.pad(image, (40, 40, 40, 40))[..., 40 + y : 61 + y, 40 + x : 74 + x]
    assert torch.equal(result, wanted)


@pytest.mark.parametrize('mode', MODES)
def test_flips_and_permutations_of_the_points_move_the_pixels(mode) -> None:
    image, points = noise(1, 2, 12, 15), centres(12, 15)
    assert torch.equal(remap(image, points.flip(2), mode), image.flip(3))
    assert torch.equal(remap(image, points.transpose(1, 2), mode), image.transpose(2, 3))


@PROPERTY
@given(mode=st.sampled_from(MODES), padding=st.sampled_from(PADDINGS), a=st.floats(-3, 3))
def test_linear_in_the_image(mode, padding, a) -> None:
    one, other, points = noise(1, 2, 23, 31), noise(1, 2, 23, 31, seed=1), scattered(1, (12, 14), 23, 31)
    result = remap(one + a * other, points, mode, padding)
    wanted = remap(one, points, mode, padding) + a * remap(other, points, mode, padding)
    torch.testing.assert_close(result, wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize('mode', MODES)
def test_points_of_float32_are_read_where_they_are(mode) -> None:
    """Their coordinates are computed in float64: nothing is added to the rounding that they come with."""
    image = noise(1, 2, 3, 9000)
    points = scattered(1, (5, 301), 3, 9000, 1.0).float()
    assert torch.equal(remap(image, points, mode), remap(image, points.double(), mode))
    ramp = torch.arange(9000.0, dtype=torch.float64).expand(1, 1, 3, 9000)
    at = torch.tensor([[[[4096.3, 1.5]]]], dtype=torch.float64)
    assert abs(remap(ramp, at).item() - 4095.8) < 1e-11
    assert 2**-14 < abs(remap(ramp, at.float()).item() - 4095.8) <= 2**-12


@pytest.mark.parametrize('of_points', [torch.float32, torch.float64])
@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(('mode', 'padding'), ALL)
def test_points_that_are_not_finite_give_zeros(checks, mode, padding, bad, of_points) -> None:
    """And no gradient; the others are as they would be alone."""
    image, points = noise(2, 3, 9, 11) + 5, scattered(2, (8, 12), 9, 11).to(of_points)
    broken = points.clone()
    broken[0, 2, 3, 0] = broken[0, 4, 5, 1] = broken[1, 7, 11] = bad
    kept = broken.isfinite().all(-1)
    assert kept.sum() == 2 * 8 * 12 - 3
    result, grad_image, grad_points = checks.gradients(lambda x, p: remap(x, p, mode, padding), (image, broken))
    wanted, *_, wanted_points = checks.gradients(lambda x, p: remap(x, p, mode, padding), (image, points))
    assert torch.equal(result, torch.where(kept[:, None], wanted, 0.0))
    assert torch.equal(grad_points, torch.where(kept[..., None], wanted_points, 0.0))
    assert grad_points.dtype == of_points
    weights = torch.cos(torch.arange(result.numel())).view(result.shape).to(result)
    alone = torch.where(kept[..., None], points, -1e3)  # far outside
    if padding == 'zeros':
        _, other, _ = checks.gradients(lambda x, p: remap(x, p, mode, padding), (image, alone), weights)
        torch.testing.assert_close(grad_image, other, atol=1e-12, rtol=0)
    assert grad_image.isfinite().all()


@pytest.mark.parametrize('size', [1e30, -1e30, 1e300, 1.7e308, -1.7e308])
@pytest.mark.parametrize(('mode', 'padding'), ALL)
def test_points_far_away_do_no_harm(checks, mode, padding, size) -> None:
    image, points = noise(1, 2, 9, 11), centres(9, 11)
    points[..., 0] *= size / 11
    result, *grads = checks.gradients(lambda x, p: remap(x, p, mode, padding), (image, points))
    if padding == 'zeros':
        assert not result.any()
    elif padding == 'border':
        edge = image[..., -1:] if size > 0 else image[..., :1]
        torch.testing.assert_close(result, edge.expand_as(result), atol=1e-12, rtol=0)
    assert result.isfinite().all()
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize('mode', ['bilinear', 'bicubic'])
def test_wild_pixels_reach_the_points_that_read_them_and_no_others(mode) -> None:
    image = torch.ones(1, 2, 12, 14)
    image[0, 0, 5, 6], image[0, 1, 5, 6] = math.inf, math.nan
    points = centres(12, 14) + torch.tensor([0.25, 0.0])
    result = remap(image, points, mode, 'border')
    wild = ~result.isfinite()
    expected = torch.zeros(12, 14, dtype=torch.bool)
    expected[5, slice(5, 7) if mode == 'bilinear' else slice(4, 8)] = True
    assert torch.equal(wild, expected.expand(1, 2, 12, 14))


def test_nearest_has_a_gradient_of_zero_to_the_points(checks) -> None:
    _, grad_image, grad_points = checks.gradients(
        lambda x, p: remap(x, p, 'nearest'), (noise(1, 3, 9, 11), scattered(1, (8, 12), 9, 11))
    )
    assert grad_image.any()
    assert torch.equal(grad_points, torch.zeros(1, 8, 12, 2, dtype=torch.float64))


def test_one_set_of_points_for_all_images_and_one_image_at_all_points(checks) -> None:
    images, points = noise(3, 2, 9, 11), scattered(3, (8, 12), 9, 11)
    for x, p in ((images, points[:1]), (images[:1], points)):
        found = checks.gradients(remap, (x, p))
        wanted = checks.gradients(
            lambda x, p: remap(x.repeat(3 // len(x), 1, 1, 1), p.repeat(3 // len(p), 1, 1, 1)), (x, p)
        )
        for one, other in zip(found, wanted):
            torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


def test_points_of_any_layout(checks) -> None:
    """A flow has its x and y in planes; a broadcast row or column repeats in memory."""
    image, points = noise(2, 3, 9, 11), scattered(2, (8, 12), 9, 11)
    wanted = checks.gradients(remap, (image, points))
    flow = points.permute(0, 3, 1, 2).contiguous()
    found = checks.gradients(lambda x, p: remap(x, p.permute(0, 2, 3, 1)), (image, flow))
    for one, other in zip(found, (*wanted[:2], wanted[2].permute(0, 3, 1, 2))):
        torch.testing.assert_close(one, other, atol=1e-13, rtol=0)
    mixed = points.transpose(1, 2).contiguous().transpose(1, 2).flip(3).contiguous().flip(3)
    assert torch.equal(remap(image, mixed), wanted[0])
    row = points[:, :1].expand(-1, 8, -1, -1)
    assert torch.equal(remap(image, row), remap(image, row.contiguous()))


@pytest.mark.parametrize('of_points', [torch.float64, torch.float32])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_and_shapes(checks, dtype, of_points) -> None:
    result, grad_image, grad_points = checks.gradients(
        remap, (noise(2, 3, 9, 11).to(dtype), scattered(2, (8, 12), 9, 11).to(of_points))
    )
    assert (result.shape, result.dtype) == ((2, 3, 8, 12), dtype)
    assert (grad_image.shape, grad_image.dtype) == ((2, 3, 9, 11), dtype)
    assert (grad_points.shape, grad_points.dtype) == ((2, 8, 12, 2), of_points)


@pytest.mark.parametrize(('mode', 'padding'), ALL)
def test_gradcheck(mode, padding) -> None:
    """Away from kinks: no point lies as near to a line of pixel centres as the finite differences go."""
    image, points = noise(2, 1, 6, 5).requires_grad_(), scattered(2, (3, 4), 6, 5, 1.4, seed=1).requires_grad_()
    assert ((points.detach() * 2) % 1 - 0.5).abs().max() < 0.499
    function = lambda x, p: remap(x, p, mode, padding)  # noqa: E731
    assert torch.autograd.gradcheck(function, (image, points), eps=1e-7, atol=1e-5)
    assert torch.autograd.gradcheck(function, (image, points.detach()), eps=1e-7, atol=1e-5)
    assert torch.autograd.gradcheck(function, (image.detach(), points), eps=1e-7, atol=1e-5)


def test_a_flow_is_learnt_through_the_gradient() -> None:
    """Steps against the gradient find a shift of (1.5, -0.75) between two smooth images."""
    y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(50) + 0.5, indexing='ij')
    image = (torch.sin(0.2 * x + 0.1 * y) + torch.cos(0.15 * y - 0.1 * x)).double()[None, None]
    target = remap(image, centres(40, 50) + torch.tensor([1.5, -0.75]), 'bicubic', 'border')
    shift = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    for _ in range(60):
        loss = (remap(image, centres(40, 50) + shift, 'bilinear', 'border') - target).square().mean()
        (grad,) = torch.autograd.grad(loss, shift)
        shift = (shift - 15 * grad).detach().requires_grad_()
    assert (shift - torch.tensor([1.5, -0.75])).abs().max() < 0.05


@pytest.mark.parametrize(
    ('shape', 'out'),
    [((0, 3, 9, 11), (8, 12)), ((2, 0, 9, 11), (8, 12)), ((2, 3, 9, 11), (0, 12)), ((2, 3, 9, 11), (8, 0))],
)
def test_no_images_channels_or_points(checks, shape, out) -> None:
    result, *grads = checks.gradients(remap, (noise(*shape), scattered(shape[0], out, 9, 11)))
    assert result.shape == (*shape[:2], *out)
    assert [grad.shape for grad in grads] == [shape, (shape[0], *out, 2)]
    assert not any(grad.any() for grad in grads)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'input': torch.zeros(3, 9, 11)}, r'input has shape \(3, 9, 11\), expected \(N, C, H, W\)'),
        ({'input': torch.zeros(2, 3, 9, 11, dtype=torch.uint8)}, r'input has dtype torch.uint8'),
        ({'input': torch.zeros(2, 3, 0, 11)}, r'input has shape \(2, 3, 0, 11\), expected at least one row and column'),
        ({'points': torch.zeros(2, 2, 4, 5)}, r'points has shape \(2, 2, 4, 5\), expected \(N, h, w, 2\)'),
        ({'points': torch.zeros(4, 5, 2)}, r'points has shape \(4, 5, 2\), expected \(N, h, w, 2\)'),
        ({'points': torch.zeros(2, 4, 5, 2).half()}, r'points has dtype torch.float16, .* expected float32 or float64'),
        ({'points': torch.zeros(3, 4, 5, 2)}, r'input has 2 images and points are for 3'),
        ({'points': torch.zeros(2, 4, 5, 2, device='meta')}, r'input on cpu, points on meta'),
        ({'mode': 'cubic'}, r"mode is 'cubic', expected one of 'bilinear', 'nearest', 'bicubic'"),
        ({'padding_mode': 'edge'}, r"padding_mode is 'edge', expected one of"),
    ],
)
def test_errors(changes, message) -> None:
    arguments = {'input': torch.zeros(2, 3, 9, 11), 'points': torch.zeros(2, 4, 5, 2)}
    with pytest.raises(InputError, match=message):
        remap(**{**arguments, **changes})

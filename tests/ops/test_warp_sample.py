"""The warp in both implementations: conventions, properties, horizon, antialiasing and errors."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from stn_det.errors import InputError
from stn_det.geometry import rotation_matrix, scaling, transform_points, translation
from stn_det.ops import warp_sample

pytestmark = pytest.mark.usefixtures('implementation')

MODES = ('bilinear', 'nearest', 'bicubic')
PADDINGS = ('zeros', 'border', 'reflection')
ALL = list(itertools.product(MODES, PADDINGS))
PROPERTY = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth(height: int, width: int) -> Tensor:
    """A band-limited image (1, 1, H, W): waves of 40 pixels and more."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij')
    return (torch.sin(0.15 * x + 0.05 * y) + torch.cos(0.12 * y - 0.07 * x)).double()[None, None]


def turned(degrees: float = 20.0, scale: float = 1.1, height: int = 23, width: int = 31, slant: float = 1e-3) -> Tensor:
    """A turn and scale about the centre, with a touch of perspective: (1, 3, 3)."""
    center = (width / 2, height / 2)
    matrix = rotation_matrix(math.radians(degrees), center) @ scaling(scale, scale, center) @ translation(0.3, -0.7)
    matrix[2] = torch.tensor([slant, -2 * slant, 1.0])
    return matrix[None]


def on_grid_sample(image: Tensor, matrix: Tensor, size: tuple[int, int], mode: str, padding: str) -> Tensor:
    """The same through a grid of normalised coordinates."""
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing='ij')
    points = torch.stack([x, y, torch.ones_like(x)], -1).double().view(-1, 3) @ matrix.transpose(1, 2)
    extent = torch.tensor([image.shape[3], image.shape[2]], dtype=torch.float64)
    grid = (2 * points[..., :2] / points[..., 2:] / extent - 1).view(len(matrix), *size, 2)
    return F.grid_sample(image, grid, mode=mode, padding_mode=padding, align_corners=False)


@pytest.mark.parametrize(('mode', 'padding'), ALL)
@pytest.mark.parametrize('slant', [0.0, 1e-3])
def test_equals_grid_sample_and_its_gradients(checks, mode, padding, slant) -> None:
    image, matrix = noise(2, 3, 23, 31), torch.cat([turned(slant=slant), turned(-75, 2.4, slant=slant)])
    size = (29, 37)
    found = checks.gradients(lambda x, m: warp_sample(x, m, size, mode, padding), (image, matrix))
    wanted = checks.gradients(lambda x, m: on_grid_sample(x, m, size, mode, padding), (image, matrix))
    for one, other in zip(found, wanted):
        assert (one - other).abs().max() <= 1e-12 * max(1.0, other.abs().max())


@pytest.mark.parametrize('padding', PADDINGS)
def test_equals_affine_grid(padding) -> None:
    """A 2 x 3 matrix against affine_grid, which has both images from -1 to 1."""
    image, theta = noise(2, 3, 20, 30), torch.tensor([[[0.9, -0.3, 0.1], [0.2, 1.2, -0.3]]]).double().expand(2, 2, 3)
    to_unit = torch.tensor([[2 / 30, 0, -1], [0, 2 / 20, -1], [0, 0, 1]], dtype=torch.float64)
    square = torch.cat([theta[0], to_unit[2:]])
    matrix = (torch.linalg.inv(to_unit) @ square @ to_unit)[:2].expand(2, 2, 3)
    grid = F.affine_grid(theta, [2, 3, 20, 30], align_corners=False)
    wanted = F.grid_sample(image, grid, padding_mode=padding, align_corners=False)
    torch.testing.assert_close(warp_sample(image, matrix, (20, 30), padding_mode=padding), wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(('mode', 'padding'), ALL)
def test_identity_is_exact(mode, padding, dtype) -> None:
    """kornia issues 747 and 3904. Odd and even sizes; infinite and NaN neighbours stay where they are."""
    for height, width in ((7, 9), (8, 70)):
        image = noise(2, 3, height, width).to(dtype)
        image[0, 1, 3, 4], image[1, 0, 2, 2], image[1, 2, 6, 8] = math.inf, math.nan, -math.inf
        for matrix in (torch.eye(3)[None], torch.eye(3, dtype=torch.float64)[None, :2], 3 * torch.eye(3)[None]):
            for antialias in {False, mode != 'nearest'}:
                result = warp_sample(image, matrix, (height, width), mode, padding, antialias)
                assert result.dtype == dtype
                assert torch.equal(result.nan_to_num(nan=7.0), image.nan_to_num(nan=7.0))


@pytest.mark.parametrize('antialias', [False, True])
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('quarter', [1, 2, 3])
def test_quarter_turns_permute_the_pixels(mode, quarter, antialias) -> None:
    image = noise(1, 2, 12, 12).float()
    matrix = rotation_matrix(quarter * math.pi / 2, (6, 6))[None]
    result = warp_sample(image, matrix, 12, mode, antialias=antialias and mode != 'nearest')
    assert torch.equal(result, torch.rot90(image, quarter, (2, 3)))


@PROPERTY
@given(x=st.integers(-40, 40), y=st.integers(-40, 40), mode=st.sampled_from(MODES))
def test_whole_shifts_copy(x, y, mode) -> None:
    image = noise(1, 2, 21, 34)
    result = warp_sample(image, translation(x, y)[None], (21, 34), mode)
    wanted = F.pad(image, (40, 40, 40, 40))[..., 40 + y : 61 + y, 40 + x : 74 + x]
    assert torch.equal(result, wanted)


@PROPERTY
@given(degrees=st.floats(-180, 180), scale=st.floats(0.7, 1.3), slant=st.floats(0, 5e-4))
def test_there_and_back(degrees, scale, slant) -> None:
    """A smooth image through a map and its inverse, compared where both stay inside.

    Bilinear: the error is an eighth of the curvature of the waves, while A = -0.75 bends even straight slopes."""
    image, matrix = smooth(64, 80), turned(degrees, scale, 64, 80, slant)
    size = (64, 80)
    once = warp_sample(image, matrix, size)
    back = warp_sample(once, torch.linalg.inv(matrix), size)
    ones = torch.ones_like(image)
    inside = warp_sample(warp_sample(ones, matrix, size), torch.linalg.inv(matrix), size) > 1 - 1e-9
    inside = -F.max_pool2d(-inside.double(), 7, 1, 3) > 0.5
    assert inside.sum() > 500
    assert (back - image)[inside].abs().max() < 0.015


@PROPERTY
@given(degrees=st.floats(-180, 180), other=st.floats(-180, 180))
def test_two_maps_in_a_row_are_their_product(degrees, other) -> None:
    image, first, second = smooth(64, 64), turned(degrees, 0.9, 64, 64), turned(other, 0.9, 64, 64)
    twice = warp_sample(warp_sample(image, first, 64, 'bilinear', 'border'), second, 64, 'bilinear', 'border')
    once = warp_sample(image, first @ second, 64, 'bilinear', 'border')
    assert (twice - once)[..., 20:44, 20:44].abs().max() < 0.015


@PROPERTY
@given(mode=st.sampled_from(MODES), padding=st.sampled_from(PADDINGS), antialias=st.booleans(), a=st.floats(-3, 3))
def test_linear_in_the_image(mode, padding, antialias, a) -> None:
    one, other, matrix = noise(1, 2, 23, 31), noise(1, 2, 23, 31, seed=1), turned(scale=2.3)
    options = ((12, 14), mode, padding, antialias and mode != 'nearest')
    result = warp_sample(one + a * other, matrix, *options)
    wanted = warp_sample(one, matrix, *options) + a * warp_sample(other, matrix, *options)
    torch.testing.assert_close(result, wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize('slant', [0.0, 8e-4])
@pytest.mark.parametrize('antialias', [False, True])
def test_dots_land_where_the_points_go(slant, antialias) -> None:
    """Centroids of warped dots against transform_points, to a twentieth of a pixel."""
    dst_from_src = turned(25, 1.2, 120, 160, slant)[0]
    dots = torch.tensor([[60.3, 50.8], [100.5, 40.1], [70.2, 80.6], [90.0, 66.0]], dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(120) + 0.5, torch.arange(160) + 0.5, indexing='ij')
    squared = (x - dots[:, 0, None, None]) ** 2 + (y - dots[:, 1, None, None]) ** 2
    image = torch.exp(-squared / (2 * 1.5**2))[None]
    warped = warp_sample(image, torch.linalg.inv(dst_from_src)[None], (120, 160), 'bicubic', antialias=antialias)[0]
    total = warped.sum((1, 2))
    found = torch.stack([(warped * x).sum((1, 2)) / total, (warped * y).sum((1, 2)) / total], -1)
    assert (found - transform_points(dots, dst_from_src)).abs().max() < 0.05


@pytest.mark.parametrize('factor', [2, 3, 4, 7, 16])
@pytest.mark.parametrize('mode', ['bilinear', 'bicubic'])
def test_antialias_by_a_whole_factor_is_the_mean_of_the_pixels(factor, mode) -> None:
    image = noise(1, 2, 5 * factor, 3 * factor)
    matrix = scaling(factor, factor)[None]
    wanted = F.avg_pool2d(image, factor)
    result = warp_sample(image, matrix, (5, 3), mode, antialias=True)
    torch.testing.assert_close(result, wanted, atol=1e-13, rtol=0)
    # Nearly whole, as matrices in float32 are: no more points than that.
    nearly = warp_sample(image, matrix * (1 + 1e-6), (5, 3), mode, 'border', antialias=True)
    torch.testing.assert_close(nearly, wanted, atol=2e-3, rtol=0)


def test_antialias_beyond_sixteen_still_reads_all() -> None:
    """A factor of 32 reads 16 x 16 corners of four pixels each."""
    image = noise(1, 1, 96, 64)
    result = warp_sample(image, scaling(32, 32)[None], (3, 2), antialias=True)
    torch.testing.assert_close(result, F.avg_pool2d(image, 32), atol=1e-13, rtol=0)


def test_antialias_takes_the_patterns_out() -> None:
    """torch issue 20785: a checkerboard by 4 and a zone plate by 3.7, turned, with and without."""
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing='ij')
    checkers = ((x + y) % 2).double()[None, None]
    rings = torch.cos(((x - 64) ** 2 + (y - 64) ** 2) * math.pi / 128).double()[None, None]  # period 2 px at the edge
    quarter = scaling(4, 4)[None]
    plain = warp_sample(checkers, quarter @ translation(0.125, 0.125), 30)  # on pixel centres
    assert (plain - 0.5).abs().min() == 0.5
    grey = warp_sample(checkers, quarter @ translation(0.125, 0.125), 30, antialias=True)
    assert (grey - 0.5).abs().max() < 1e-12
    turn = (rotation_matrix(0.4, (64, 64)) @ scaling(3.7, 3.7, (64, 64)) @ translation(48, 48))[None]
    outer = torch.tensor([[abs(i - 15.5) > 10 or abs(j - 15.5) > 10 for j in range(32)] for i in range(32)])
    inside = warp_sample(torch.ones_like(rings), turn, 32)[0, 0] == 1
    plain, soft = (warp_sample(rings, turn, 32, antialias=flag)[0, 0][outer & inside] for flag in (False, True))
    assert soft.std() < 0.25 * plain.std()


@PROPERTY
@given(degrees=st.floats(-180, 180), scale=st.floats(1.5, 6))
def test_antialias_keeps_the_energy(degrees, scale) -> None:
    """The mean over a blob does not depend on where the coarse pixels lie; without antialiasing it does."""
    image = torch.zeros(1, 1, 96, 96, dtype=torch.float64)
    image[..., 40:56, 40:56] = noise(1, 1, 16, 16).abs()
    matrix = rotation_matrix(math.radians(degrees), (48, 48)) @ scaling(scale, scale, (48, 48))
    matrix = matrix @ translation(48 - 40, 48 - 40)
    result = warp_sample(image, matrix[None], 80, antialias=True)
    assert abs(result.sum() * scale**2 / image.sum() - 1) < 0.03


@pytest.mark.parametrize('mode', ['bilinear', 'bicubic'])
def test_antialias_changes_nothing_where_the_map_turns_or_enlarges(mode) -> None:
    image = noise(1, 2, 30, 40)
    for degrees, scale in ((10, 1.0), (37, 0.8), (123, 0.3)):
        matrix = turned(degrees, scale, 30, 40, 0.0).float()
        assert torch.equal(
            warp_sample(image, matrix, (30, 40), mode, antialias=True), warp_sample(image, matrix, (30, 40), mode)
        )


def test_antialias_follows_the_local_jacobian(oracle) -> None:
    """A road seen towards the horizon, against its definition pixel by pixel: more and more points far away."""
    image, size = noise(1, 1, 60, 50), (11, 9)
    rows = [[1.1, 0.4, 0.5], [0.0, 1.2, 0.3], [0.0, -0.08, 1.0]]

    def source(x: float, y: float) -> tuple[float, float]:
        u, v, w = (a * x + b * y + c for a, b, c in rows)
        return u / w, v / w

    result = warp_sample(image, torch.tensor([rows], dtype=torch.float64), size, antialias=True)
    plane, seen, step = image[0, 0].tolist(), set(), 1e-6
    for i, j in itertools.product(*map(range, size)):
        x, y = j + 0.5, i + 0.5
        n = math.ceil(math.dist(source(x + step, y), source(x - step, y)) / (2 * step) - 1 / 1024)
        m = math.ceil(math.dist(source(x, y + step), source(x, y - step)) / (2 * step) - 1 / 1024)
        n, m = min(max(n, 1), 16), min(max(m, 1), 16)
        seen.add((n, m))
        points = [source(j + (k + 0.5) / n, i + (r + 0.5) / m) for k in range(n) for r in range(m)]
        wanted = sum(oracle.bilinear(plane, v - 0.5, u - 0.5, True) for u, v in points) / (n * m)
        assert abs(result[0, 0, i, j].item() - wanted) < 1e-12, (i, j)
    assert {n for n, _ in seen} >= {2, 4, 7}
    assert {m for _, m in seen} >= {2, 5, 8}


@pytest.mark.parametrize('antialias', [False, True])
@pytest.mark.parametrize(('mode', 'padding'), ALL)
def test_points_behind_the_horizon_are_zero(checks, mode, padding, antialias) -> None:
    """In border and reflection too; and whatever the factor that the matrix carries."""
    antialias = antialias and mode != 'nearest'
    image = noise(1, 2, 9, 11).abs() + 1
    matrix = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [-1 / 6, 0, 1]]], dtype=torch.float64)  # horizon at x = 6
    result, grad_image, grad_matrix = checks.gradients(
        lambda x, m: warp_sample(x, m, (9, 11), mode, padding, antialias), (image, matrix)
    )
    assert not result[..., 6:].any()
    if padding != 'zeros' and not antialias:
        assert (result[..., :6].abs() > 0).all()
    assert grad_image.isfinite().all()
    assert grad_matrix.isfinite().all()
    for factor in (2.0**-40, 2.0**40):
        scaled = warp_sample(image, factor * matrix, (9, 11), mode, padding, antialias)
        assert torch.equal(scaled, result)
    assert not warp_sample(image, -matrix, (9, 11), mode, padding, antialias)[..., :5].any()


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(('mode', 'padding'), ALL)
def test_a_matrix_that_is_not_finite_gives_zeros(checks, mode, padding, bad) -> None:
    """torch issue 24870. The other image of the batch is as it would be alone."""
    image, good = noise(2, 3, 9, 11), turned(height=9, width=11)
    for entry, antialias in itertools.product(range(9), {False, mode != 'nearest'}):
        broken = good.clone().view(-1)
        broken[entry] = bad
        result, *grads = checks.gradients(
            lambda x, m, antialias=antialias: warp_sample(x, m, (8, 12), mode, padding, antialias),
            (image, torch.cat([broken.view(1, 3, 3), good])),
        )
        assert not result[0].any()
        assert torch.equal(result[1:], warp_sample(image[1:], good, (8, 12), mode, padding, antialias))
        assert [grad[0].any().item() for grad in grads] == [False, False]
        assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize('size', [1e30, -1e30, 1e300, 1e308])
@pytest.mark.parametrize(('mode', 'padding'), ALL)
def test_coordinates_far_away_do_no_harm(checks, mode, padding, size) -> None:
    image = noise(1, 2, 9, 11)
    matrix = torch.tensor([[[size, 0, 0], [0, 1, 0]]], dtype=torch.float64)
    result, *grads = checks.gradients(lambda x, m: warp_sample(x, m, (9, 11), mode, padding), (image, matrix))
    if padding == 'zeros':
        assert not result.any()
    elif padding == 'border' and abs(size) < 1e307:
        edge = image[..., -1:] if size > 0 else image[..., :1]
        torch.testing.assert_close(result, edge.expand_as(result), atol=1e-12, rtol=0)
    assert result.isfinite().all()
    assert all(grad.isfinite().all() for grad in grads)


def test_nearest_has_a_gradient_of_zero_to_the_matrix(checks) -> None:
    _, grad_image, grad_matrix = checks.gradients(
        lambda x, m: warp_sample(x, m, (8, 12), 'nearest'), (noise(1, 3, 9, 11), turned(height=9, width=11))
    )
    assert grad_image.any()
    assert torch.equal(grad_matrix, torch.zeros(1, 3, 3, dtype=torch.float64))


def test_one_matrix_for_all_images_and_one_image_through_all_matrices(checks) -> None:
    images, matrices = noise(3, 2, 9, 11), torch.cat([turned(10 * k, height=9, width=11) for k in range(3)])
    size = (8, 12)
    found = checks.gradients(lambda x, m: warp_sample(x, m, size), (images, matrices[:1]))
    wanted = checks.gradients(lambda x, m: warp_sample(x, m.repeat(3, 1, 1), size), (images, matrices[:1]))
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)
    found = checks.gradients(lambda x, m: warp_sample(x, m, size), (images[:1], matrices))
    wanted = checks.gradients(lambda x, m: warp_sample(x.repeat(3, 1, 1, 1), m, size), (images[:1], matrices))
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize('antialias', [False, True])
@pytest.mark.parametrize(('mode', 'padding'), ALL)
def test_gradcheck(mode, padding, antialias) -> None:
    """Away from kinks: no point lies as near to a line of pixel centres as the finite differences go."""
    antialias, slant = antialias and mode != 'nearest', 4e-3
    image = noise(2, 1, 6, 5).requires_grad_()
    matrix = torch.cat([turned(23.0, 1.37, 6, 5, slant), turned(-58.0, 1.83, 6, 5, slant)]).requires_grad_()
    function = lambda x, m: warp_sample(x, m, (3, 4), mode, padding, antialias)  # noqa: E731
    assert torch.autograd.gradcheck(function, (image, matrix), eps=1e-7, atol=1e-5)
    affine = matrix.detach()[:1, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(function, (image[:1], affine), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize('shape', [(0, 3, 9, 11), (2, 0, 9, 11)])
def test_no_images_or_channels(checks, shape) -> None:
    result, *grads = checks.gradients(
        lambda x, m: warp_sample(x, m, (8, 12)), (noise(*shape), turned().expand(shape[0], 3, 3))
    )
    assert result.shape == (*shape[:2], 8, 12)
    assert [grad.shape for grad in grads] == [shape, (shape[0], 3, 3)]
    assert not grads[1].any()


@pytest.mark.parametrize('size', [(0, 12), (8, 0), (0, 0)])
def test_no_destination(checks, size) -> None:
    result, *grads = checks.gradients(lambda x, m: warp_sample(x, m, size), (noise(2, 3, 9, 11), turned()))
    assert result.shape == (2, 3, *size)
    assert not any(grad.any() for grad in grads)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'input': torch.zeros(3, 9, 11)}, r'input has shape \(3, 9, 11\), expected \(N, C, H, W\)'),
        ({'input': torch.zeros(2, 3, 9, 11, dtype=torch.uint8)}, r'input has dtype torch.uint8'),
        ({'input': torch.zeros(2, 3, 0, 11)}, r'input has shape \(2, 3, 0, 11\), expected at least one row and column'),
        ({'matrix': torch.eye(3)}, r'matrix has shape \(3, 3\), expected \(N, 2 or 3, 3\)'),
        ({'matrix': torch.zeros(2, 4, 3)}, r'matrix has shape \(2, 4, 3\), expected \(N, 2, 3\) or \(N, 3, 3\)'),
        ({'matrix': torch.zeros(2, 3, 3).half()}, r'matrix has dtype torch.float16, .* expected float32 or float64'),
        ({'matrix': torch.zeros(3, 3, 3)}, r'input has 2 images and matrix 3 matrices'),
        ({'matrix': torch.zeros(2, 3, 3, device='meta')}, r'input on cpu, matrix on meta'),
        ({'out_size': (-1, 3)}, r'out_size is \(-1, 3\), expected'),
        ({'out_size': 2.5}, r'out_size is 2.5, expected an int or a pair'),
        ({'mode': 'cubic'}, r"mode is 'cubic', expected one of 'bilinear', 'nearest', 'bicubic'"),
        ({'padding_mode': 'edge'}, r"padding_mode is 'edge', expected one of"),
        ({'mode': 'nearest', 'antialias': True}, r'antialias averages pixels'),
    ],
)
def test_errors(changes, message) -> None:
    arguments = {'input': torch.zeros(2, 3, 9, 11), 'matrix': torch.zeros(2, 3, 3), 'out_size': (4, 5)}
    with pytest.raises(InputError, match=message):
        warp_sample(**{**arguments, **changes})

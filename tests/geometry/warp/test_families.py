"""Parameters of warps: identity at 0, units, limits."""

import math

import pytest
import torch

from stn_det.errors import InputError
from stn_det.geometry import rotation_matrix, scaling, transform_points, translation
from stn_det.geometry.warp import FAMILIES, WarpLimits, bound, num_parameters, warp_matrix
from stn_det.geometry.warp._exponential import matrix_exponential

SIZE = (80, 125)  # half the square root of the area: 50
CENTER = (62.5, 40.0)


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize('size', [(80, 125), (7, 7), (1, 333)])
def test_zero_is_the_identity_bit_for_bit(family, dtype, size):
    matrix = warp_matrix(torch.zeros(2, num_parameters(family), dtype=dtype), family, size)
    assert torch.equal(matrix, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))


@pytest.mark.parametrize(
    ('family', 'parameters', 'expected'),
    [
        ('translation', [0.2, -0.1], translation(10, -5)),
        ('rotation', [0.7], rotation_matrix(0.7, CENTER)),
        ('rotation', [-8.0], rotation_matrix(-8.0, CENTER)),
        ('similarity', [0, math.log(1.5), 0, 0], scaling(1.5, 1.5, CENTER)),
        ('affine', [0, 0, math.log(1.2), 0, 0, 0], scaling(1.2, 1 / 1.2, CENTER)),
        ('affine', [0.3, 0, 0, 0, 0, 0], rotation_matrix(0.3, CENTER)),
    ],
)
def test_parameters_mean_what_their_names_say(family, parameters, expected):
    matrix = warp_matrix(torch.tensor([parameters], dtype=torch.float64), family, SIZE)[0]
    assert torch.allclose(matrix, expected, rtol=0, atol=1e-12)


def test_skew_stretches_along_the_diagonal():
    matrix = warp_matrix(torch.tensor([[0, 0, 0, math.log(2), 0, 0]], dtype=torch.float64), 'affine', (100, 100))[0]
    mapped = transform_points(torch.tensor([[60.0, 60.0], [60.0, 40.0]], dtype=torch.float64), matrix)
    assert torch.allclose(mapped, torch.tensor([[70.0, 70.0], [55.0, 45.0]], dtype=torch.float64))


def test_tilt_moves_the_horizon_where_the_depth_is_zero():
    matrix = warp_matrix(torch.tensor([[0.0] * 6 + [0.125, 0.0]]), 'homography', SIZE)[0]
    depth = matrix[2] @ torch.tensor([CENTER[0] - 400, 40, 1], dtype=torch.float64)
    assert depth == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize('family', FAMILIES)
def test_opposite_parameters_are_the_inverse(family):
    torch.manual_seed(0)
    parameters = 0.4 * torch.randn(5, num_parameters(family), dtype=torch.float64)
    product = warp_matrix(parameters, family, SIZE) @ warp_matrix(-parameters, family, SIZE)
    assert torch.allclose(product, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-10)


def test_exponential_agrees_with_pytorch():
    torch.manual_seed(0)
    matrix = torch.randn(20, 3, 3, dtype=torch.float64)
    expected = torch.linalg.matrix_exp(matrix)
    assert torch.allclose(matrix_exponential(matrix), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('family', FAMILIES)
def test_gradient(family):
    torch.manual_seed(0)
    parameters = (0.3 * torch.randn(2, num_parameters(family), dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: warp_matrix(p, family, SIZE), parameters)


def test_limits_are_kept_and_the_slope_at_zero_is_one():
    limits = WarpLimits(rotation=math.inf, log_scale=0.2)
    raw = torch.tensor([[50.0, 50.0, -50.0, 1e-4]])
    found = bound(raw, 'similarity', limits)[0]
    assert found.tolist() == pytest.approx([50, 0.2, -0.5, 1e-4])


def test_limits_of_every_parameter():
    found = bound(torch.full((1, 8), 99.0, dtype=torch.float64), 'homography', dict(stretch=0.1, tilt=0.05, shift=0.3))
    assert found[0].tolist() == pytest.approx([math.pi, math.log(2), 0.1, 0.1, 0.3, 0.3, 0.05, 0.05])


def test_widest_default_limits_keep_the_horizon_outside():
    corners = torch.cartesian_prod(*[torch.tensor([-99.0, 99.0], dtype=torch.float64)] * 8)
    for size in ((100, 100), (60, 100)):
        matrix = warp_matrix(bound(corners, 'homography'), 'homography', size)
        frame = torch.tensor([[0, 0, 1], [size[1], 0, 1], [size[1], size[0], 1], [0, size[0], 1]], dtype=torch.float64)
        assert (matrix[:, 2:] @ frame.T > 0.05).all()


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: num_parameters('shear'), "family is 'shear', expected one of 'translation'"),
        (lambda: warp_matrix(torch.zeros(2, 3), 'affine', SIZE), r'parameters has shape \(2, 3\), expected \(N, 6\)'),
        (lambda: bound(torch.zeros(2, 3), 'affine'), r'raw has shape \(2, 3\), expected \(..., 6\) for the family'),
        (lambda: WarpLimits(shift=0), 'shift is 0, expected a limit above 0'),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()

"""Points, boxes and Gaussians under matrices."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon

from stn_det.errors import InputError
from stn_det.geometry import (
    canonicalize_rboxes,
    gaussian_to_rbox,
    opencv_matrix,
    qbox_area,
    rbox_area,
    rbox_to_gaussian,
    rbox_to_hbox,
    rbox_to_qbox,
    rotation_matrix,
    scaling,
    transform_gaussians,
    transform_hboxes,
    transform_points,
    transform_qboxes,
    transform_rboxes,
    translation,
)

HEIGHT, WIDTH = 80, 100
FLIPS = {
    'horizontal': scaling(-1, 1, center=(WIDTH / 2, HEIGHT / 2)),
    'vertical': scaling(1, -1, center=(WIDTH / 2, HEIGHT / 2)),
    'diagonal': scaling(-1, -1, center=(WIDTH / 2, HEIGHT / 2)),
}
SHEAR = torch.tensor([[1.2, 0.3, 5.0], [-0.1, 0.9, 7.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
HOMOGRAPHY = torch.tensor([[1.1, 0.05, 3.0], [-0.04, 0.95, 2.0], [1e-4, -5e-5, 1.0]], dtype=torch.float64)
ALL = [SHEAR, HOMOGRAPHY, scaling(2, 0.5), scaling(-1.5, 1), rotation_matrix(0.3), translation(3, 4)]


@st.composite
def similarities(draw) -> torch.Tensor:
    """Shift, turn, equal scale and possibly a mirror."""
    matrix = translation(draw(st.floats(-500, 500)), draw(st.floats(-500, 500)))
    scale, mirror = draw(st.floats(0.1, 5)), draw(st.sampled_from([1, -1]))
    return matrix @ rotation_matrix(draw(st.floats(-7, 7))) @ scaling(scale, mirror * scale)


def _iou(boxes: torch.Tensor, quads: torch.Tensor) -> np.ndarray:
    values = []
    for a, b in zip(rbox_to_qbox(boxes), quads):
        first, second = Polygon(a.reshape(4, 2).tolist()), Polygon(b.reshape(4, 2).tolist())
        values.append(first.intersection(second).area / first.union(second).area)
    return np.array(values)


@given(similarities(), st.floats(0, 300), st.floats(0, 300), st.floats(-7, 7))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_similarities_are_exact(quad_distance, matrix, w, h, theta):
    box = torch.tensor([[40.0, -30.0, w, h, theta]], dtype=torch.float64)
    result = transform_rboxes(box, matrix)
    assert quad_distance(rbox_to_qbox(result), transform_qboxes(rbox_to_qbox(box), matrix)) < 1e-6
    assert torch.equal(canonicalize_rboxes(result), result)


@given(similarities(), st.floats(-3.1, 3.1))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_heading_follows_the_map(matrix, theta):
    box = torch.tensor([[40.0, -30.0, 8.0, 20.0, theta]], dtype=torch.float64)
    result = transform_rboxes(box, matrix, form='full')
    head = box[:, :2] + 4 * torch.stack([box[:, 4].cos(), box[:, 4].sin()], dim=-1)
    new_head = result[:, :2] + result[:, 2:3] / 2 * torch.stack([result[:, 4].cos(), result[:, 4].sin()], dim=-1)
    assert torch.allclose(new_head, transform_points(head, matrix), atol=1e-6)
    assert result[0, 2] < result[0, 3]


@pytest.mark.parametrize('matrix', [SHEAR, scaling(-1.4, 1.1), scaling(3, 0.4), HOMOGRAPHY])
def test_heading_stays_near_the_image_of_the_heading(matrix, rboxes):
    result = transform_rboxes(rboxes, matrix, form='full')
    step = 1e-3 * torch.stack([rboxes[:, 4].cos(), rboxes[:, 4].sin()], dim=-1)
    moved = transform_points(rboxes[:, :2] + step, matrix) - transform_points(rboxes[:, :2], matrix)
    heading = torch.stack([result[:, 4].cos(), result[:, 4].sin()], dim=-1)
    assert ((heading * moved).sum(-1) > 0).all()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_identity_is_bit_for_bit(rboxes, dtype):
    boxes = canonicalize_rboxes(rboxes.to(dtype))
    identity = torch.eye(3)
    assert torch.equal(transform_rboxes(boxes, identity), boxes)
    quads, hboxes = rbox_to_qbox(boxes), rbox_to_hbox(boxes)
    assert torch.equal(transform_qboxes(quads, identity), quads)
    assert torch.equal(transform_hboxes(hboxes, identity), hboxes)
    assert torch.equal(transform_points(boxes[:, :2], identity), boxes[:, :2])


@pytest.mark.parametrize('direction', FLIPS)
def test_flips_match_corners_and_undo_themselves(direction, rboxes, quad_distance):
    flip = FLIPS[direction]
    once = transform_rboxes(rboxes, flip)
    assert quad_distance(rbox_to_qbox(once), transform_qboxes(rbox_to_qbox(rboxes), flip)).max() < 1e-9
    assert torch.allclose(transform_rboxes(once, flip), canonicalize_rboxes(rboxes), atol=1e-12)


def test_flip_values():
    box = torch.tensor([[30.0, 20.0, 20.0, 10.0, 0.5]])
    assert torch.allclose(transform_rboxes(box, FLIPS['horizontal']), torch.tensor([[70.0, 20, 20, 10, -0.5]]))
    assert torch.allclose(transform_rboxes(box, FLIPS['vertical']), torch.tensor([[30.0, 60, 20, 10, -0.5]]))
    assert torch.allclose(transform_rboxes(box, FLIPS['diagonal']), torch.tensor([[70.0, 60, 20, 10, 0.5]]))


@pytest.mark.parametrize('matrix', ALL)
def test_area_is_kept_exactly(matrix, rboxes):
    """An affine map multiplies every area by |det|; a homography does so locally."""
    boxes = rboxes.clone()
    if matrix is HOMOGRAPHY:
        boxes[:, 2:4] *= 1e-4
    expected = qbox_area(transform_qboxes(rbox_to_qbox(boxes), matrix))
    tolerance = 1e-4 if matrix is HOMOGRAPHY else 1e-9
    assert torch.allclose(rbox_area(transform_rboxes(boxes, matrix)), expected, rtol=tolerance)


@pytest.mark.parametrize('matrix', [SHEAR, scaling(1.3, 1), scaling(2, 1), scaling(-1, 0.6)])
def test_nearest_rectangle_has_the_least_corner_distance(matrix):
    """The angle of the closed form beats every other angle on a grid, before the scaling to the area."""
    box = torch.tensor([[0.0, 0.0, 30.0, 18.0, 0.7]], dtype=torch.float64)
    quad = transform_qboxes(rbox_to_qbox(box), matrix).reshape(4, 2)
    quad = quad - quad.mean(0)
    side_w, side_h = (quad[1] - quad[0]) / 2, (quad[3] - quad[0]) / 2

    def misfit(theta: torch.Tensor) -> torch.Tensor:
        axis = torch.stack([theta.cos(), theta.sin()], -1)
        normal = torch.stack([-theta.sin(), theta.cos()], -1)
        along, across = (axis * side_w).sum(-1), (normal * side_h).sum(-1)
        return (side_w - along[..., None] * axis).norm(dim=-1) ** 2 + (side_h - across[..., None] * normal).norm(
            dim=-1
        ) ** 2

    grid = torch.linspace(-math.pi, math.pi, 20_001, dtype=torch.float64)
    chosen = transform_rboxes(box, matrix, form='full')[0, 4]
    assert misfit(chosen) <= misfit(grid).min() + 1e-9


@pytest.mark.parametrize(('factor', 'worst', 'mean'), [(1.001, 0.995, 0.999), (1.3, 0.87, 0.94), (2.0, 0.7, 0.86)])
def test_unequal_scales_overlap_the_true_parallelogram_better_than_principal_axes(rboxes, factor, worst, mean):
    """Why transform_rboxes does not use the eigenvectors of J Sigma J^T: a near square would lose its angle."""
    matrix = scaling(factor, 1)
    quads = transform_qboxes(rbox_to_qbox(rboxes), matrix)
    fitted = _iou(transform_rboxes(rboxes, matrix), quads)
    principal = _iou(gaussian_to_rbox(*transform_gaussians(*rbox_to_gaussian(rboxes), matrix)), quads)
    assert fitted.min() > worst
    assert fitted.mean() > mean
    assert fitted.mean() > principal.mean()


def test_a_square_keeps_its_angle_under_the_rounding_of_a_resize():
    square = torch.tensor([[30.0, 20.0, 20.0, 20.0, 0.5]])
    result = transform_rboxes(square, scaling(1.001, 1.0))
    assert abs(result[0, 4] - 0.5) < 1e-3


@pytest.mark.parametrize('matrix', ALL)
def test_small_boxes_follow_a_map_like_their_corners(matrix, rboxes):
    """Centres are exact for affine maps and right to second order for a homography."""
    boxes = rboxes.clone()
    boxes[:, 2:4] *= 1e-3
    centres = transform_qboxes(rbox_to_qbox(boxes), matrix).unflatten(-1, (4, 2)).mean(-2)
    assert torch.allclose(transform_rboxes(boxes, matrix)[:, :2], centres, atol=1e-4)


def test_composition_of_similarities(rboxes):
    first, second = rotation_matrix(0.4, center=(10, 20)) @ scaling(2, 2), scaling(-1, 1) @ translation(3, 4)
    stepwise = transform_rboxes(transform_rboxes(rboxes, first), second)
    assert torch.allclose(transform_rboxes(rboxes, second @ first), stepwise, atol=1e-9)


def test_gaussians_of_small_boxes_are_those_of_sampled_points():
    mean, covariance = rbox_to_gaussian(torch.tensor([[30.0, 20.0, 0.8, 0.4, 0.5]], dtype=torch.float64))
    angles = torch.linspace(0, 2 * math.pi, 361, dtype=torch.float64)[:-1]
    root = torch.linalg.cholesky(covariance[0])
    ring = mean + math.sqrt(2) * torch.stack([angles.cos(), angles.sin()], -1) @ root.mT  # has that covariance
    moved = transform_points(ring, HOMOGRAPHY)
    new_mean, new_covariance = transform_gaussians(mean, covariance, HOMOGRAPHY)
    assert torch.allclose(moved.mean(0), new_mean[0], atol=1e-3)
    assert torch.allclose(moved.T.cov(correction=0), new_covariance[0], rtol=1e-3)


def test_gaussians_agree_with_boxes_under_similarities(rboxes):
    matrix = translation(3, 4) @ rotation_matrix(0.4) @ scaling(2, -2)
    moved = transform_gaussians(*rbox_to_gaussian(rboxes), matrix)
    expected = rbox_to_gaussian(transform_rboxes(rboxes, matrix))
    for got, want in zip(moved, expected):
        assert torch.allclose(got, want)


def test_homography_is_that_of_opencv():
    points = torch.rand(50, 2, dtype=torch.float64) * 500
    expected = cv2.perspectiveTransform(points.numpy()[None], HOMOGRAPHY.numpy())[0]
    np.testing.assert_allclose(transform_points(points, HOMOGRAPHY).numpy(), expected)


def test_hboxes_enclose_their_corners():
    hboxes = torch.tensor([[10.0, 20.0, 30.0, 25.0]])
    result = transform_hboxes(hboxes, rotation_matrix(math.pi / 2))
    assert torch.allclose(result, torch.tensor([[-25.0, 10.0, -20.0, 30.0]]))


@pytest.mark.parametrize('matrix', [*FLIPS.values(), rotation_matrix(0.6, center=(50, 40)), scaling(1.5, 1.5)])
def test_commutes_with_drawing(matrix, quad_distance):
    """Draw a box 12 times enlarged, warp the picture with OpenCV, measure the drawn box there."""
    zoom = 12
    box = torch.tensor([[52.0, 38.0, 40.0, 18.0, 0.45]], dtype=torch.float64)
    corners = rbox_to_qbox(box).reshape(4, 2).numpy() * zoom - 0.5  # OpenCV counts from the first pixel's centre
    canvas = np.zeros((HEIGHT * zoom, WIDTH * zoom), np.uint8)
    cv2.fillPoly(canvas, [np.round(corners * 256).astype(np.int64).astype(np.int32)], 255, shift=8)
    zoomed = scaling(zoom, zoom) @ matrix @ scaling(1 / zoom, 1 / zoom)
    warped = cv2.warpPerspective(canvas, opencv_matrix(zoomed).numpy(), (2 * WIDTH * zoom, 2 * HEIGHT * zoom))
    rows, columns = np.nonzero(warped > 127)
    measured = cv2.boxPoints(cv2.minAreaRect(np.stack([columns, rows], -1).astype(np.float32) + 0.5)) / zoom
    expected = rbox_to_qbox(transform_rboxes(box, matrix))
    assert quad_distance(torch.from_numpy(measured.reshape(1, 8)).double(), expected) < 0.2  # fillPoly adds its outline
    np.testing.assert_allclose(measured.mean(0), expected.reshape(4, 2).mean(0).numpy(), atol=0.03)


@pytest.mark.parametrize('matrix', ALL)
def test_gradcheck(matrix):
    boxes = torch.tensor([[50.0, 40.0, 20.0, 10.0, 0.5], [30.0, 20.0, 9.0, 9.0, -1.2]], dtype=torch.float64)
    inputs = (boxes.requires_grad_(), matrix.clone().requires_grad_())
    # 'full' has no seam for the finite differences to step over
    assert torch.autograd.gradcheck(lambda b, m: transform_gaussians(*rbox_to_gaussian(b), m), inputs)
    assert torch.autograd.gradcheck(lambda b: transform_rboxes(b, matrix, 'full'), inputs[:1])
    if matrix is SHEAR or matrix is HOMOGRAPHY:
        assert torch.autograd.gradcheck(lambda b, m: transform_rboxes(b, m, 'full'), inputs)


@pytest.mark.parametrize('matrix', [SHEAR, scaling(2, 1), scaling(0, 0), scaling(1, 0)])
@pytest.mark.parametrize('box', [(5, 6, 0, 0, 0.3), (5, 6, 8, 0, 0.3), (5, 6, 0, 8, 0.3), (5, 6, 8, 8, 0)])
def test_zero_area_boxes_and_singular_matrices_stay_finite(matrix, box):
    boxes = torch.tensor([box], dtype=torch.float64, requires_grad=True)
    result = transform_rboxes(boxes, matrix)
    assert result.isfinite().all()
    if 0 in box[2:4] or torch.linalg.det(matrix) == 0:
        assert rbox_area(result) == 0
    result.sum().backward()
    assert boxes.grad.isfinite().all()


def test_points_on_the_horizon_are_finite_and_far():
    horizon = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.01, 0, 1]])
    result = transform_points(torch.tensor([[-100.0, 5.0]]), horizon)
    assert result.isfinite().all()
    assert result.abs().max() > 1e6
    assert transform_rboxes(torch.tensor([[-100.0, 5.0, 4.0, 2.0, 0.1]]), horizon).isfinite().all()


def test_batched_matrices(rboxes):
    boxes = rboxes[:12].reshape(3, 4, 5)
    matrices = torch.stack([SHEAR, HOMOGRAPHY, rotation_matrix(0.2)])
    cases = [
        (transform_rboxes, boxes),
        (transform_qboxes, rbox_to_qbox(boxes)),
        (transform_hboxes, rbox_to_hbox(boxes)),
        (transform_points, boxes[..., :2]),
    ]
    for transform, values in cases:
        result = transform(values, matrices[:, None])
        assert result.shape == values.shape
        for i in range(3):
            assert torch.allclose(result[i], transform(values[i], matrices[i]))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_type_of_the_boxes_is_kept(dtype):
    boxes = torch.tensor([[50.0, 40.0, 20.0, 10.0, 0.5]], dtype=dtype)
    for matrix in (SHEAR, SHEAR.float()):
        assert transform_rboxes(boxes, matrix).dtype == dtype
        assert transform_qboxes(rbox_to_qbox(boxes), matrix).dtype == dtype
        assert transform_points(boxes[:, :2], matrix).dtype == dtype


def test_empty():
    assert transform_rboxes(torch.zeros(0, 5), SHEAR).shape == (0, 5)
    assert transform_qboxes(torch.zeros(0, 8), SHEAR).shape == (0, 8)
    assert transform_hboxes(torch.zeros(0, 4), SHEAR).shape == (0, 4)
    assert transform_points(torch.zeros(0, 2), SHEAR).shape == (0, 2)


def test_errors():
    boxes = torch.zeros(1, 5)
    with pytest.raises(InputError, match=r'dst_from_src must be .* got \(2, 3\); add the row \(0, 0, 1\)'):
        transform_rboxes(boxes, torch.zeros(2, 3))
    with pytest.raises(InputError, match=r'use torch.as_tensor on a numpy array'):
        transform_qboxes(torch.zeros(1, 8), np.eye(3))
    with pytest.raises(InputError, match=r'points must have shape \(\.\.\., 2\), got \(1, 3\)'):
        transform_points(torch.zeros(1, 3), torch.eye(3))
    with pytest.raises(InputError, match=r"form must be one of .* got 'best'"):
        transform_rboxes(boxes, torch.eye(3), form='best')
    with pytest.raises(InputError, match=r'covariance must have shape \(\.\.\., 2, 2\), got \(1, 2\)'):
        transform_gaussians(torch.zeros(1, 2), torch.zeros(1, 2), torch.eye(3))

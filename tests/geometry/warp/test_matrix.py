"""Matrix warps: the same map for images, points and boxes."""

import math

import cv2
import numpy as np
import pytest
import torch

from stn_det.errors import InputError
from stn_det.geometry import opencv_matrix, rbox_to_qbox, scaling, transform_hboxes, translation
from stn_det.geometry.warp import FAMILIES, MatrixWarp, bound, num_parameters

HOMOGRAPHY = torch.tensor([[1.1, 0.05, 3.0], [-0.04, 0.95, 2.0], [1e-3, -5e-4, 1.0]], dtype=torch.float64)


def _random_warp(family, size, count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    raw = 0.3 * torch.randn(count, num_parameters(family), generator=generator, dtype=torch.float64)
    return MatrixWarp.from_parameters(bound(raw, family), family, size)


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize('size', [(8, 8), (7, 9), (1, 6)])
@pytest.mark.parametrize('antialias', [False, True])
def test_identity_images_bit_for_bit(family, dtype, size, antialias):
    torch.manual_seed(0)
    images = torch.randn(2, 3, *size).to(dtype)
    warp = MatrixWarp.from_parameters(torch.zeros(2, num_parameters(family)), family, size)
    for padding_mode in ('zeros', 'border', 'reflection'):
        assert torch.equal(warp.transform_images(images, padding_mode, antialias), images)
    assert torch.equal(warp.inverse().transform_images(images), images)


@pytest.mark.parametrize('family', FAMILIES)
def test_identity_points_and_boxes_bit_for_bit(family):
    torch.manual_seed(0)
    warp = MatrixWarp.from_parameters(torch.zeros(2, num_parameters(family)), family, (50, 60))
    points, qboxes, hboxes = torch.rand(2, 5, 2) * 50, torch.rand(2, 5, 8) * 50, torch.tensor([[[1.0, 2, 5, 9]]] * 2)
    rboxes = torch.tensor([[[20.3, 30.1, 9, 4, -0.7], [5, 5, 3, 3, 0.1]]] * 2)
    assert torch.equal(warp.transform_points(points), points)
    assert torch.equal(warp.transform_qboxes(qboxes), qboxes)
    assert torch.equal(warp.transform_hboxes(hboxes), hboxes)
    assert torch.equal(warp.transform_hboxes(hboxes, 'ellipse'), hboxes)
    assert torch.equal(warp.transform_rboxes(rboxes), rboxes)


@pytest.mark.parametrize('family', FAMILIES)
def test_images_and_points_agree(family):
    """A bright dot lands where its centre is mapped to."""
    size, warp = (240, 288), _random_warp(family, (240, 288))
    center = torch.tensor([[[133.4, 110.7]]]).expand(3, 1, 2)
    y, x = torch.meshgrid(torch.arange(240) + 0.5, torch.arange(288) + 0.5, indexing='ij')
    dot = torch.exp(-((x - 133.4) ** 2 + (y - 110.7) ** 2) / (2 * 2.0**2))
    moved = warp.transform_images(dot.expand(3, 1, *size), antialias=True)
    mass = moved.sum((2, 3))
    centroid = torch.stack([(moved * x).sum((2, 3)) / mass, (moved * y).sum((2, 3)) / mass], -1)
    assert (centroid - warp.transform_points(center)).abs().max() < 0.05


@pytest.mark.parametrize('family', FAMILIES)
def test_there_and_back(family):
    warp = _random_warp(family, (300, 400), count=50)
    torch.manual_seed(0)
    points = torch.rand(50, 20, 2, dtype=torch.float64) * torch.tensor([400.0, 300.0])
    back = warp.inverse().transform_points(warp.transform_points(points))
    assert (back - points).abs().max() < 1e-9


def test_composition_reads_like_matrices():
    first, then = _random_warp('affine', (50, 60), seed=1), _random_warp('homography', (50, 60), seed=2)
    points = torch.rand(3, 4, 2) * 50
    assert torch.allclose(
        (then @ first).transform_points(points), then.transform_points(first.transform_points(points))
    )
    assert isinstance(then @ first, MatrixWarp)
    assert torch.equal(then.after(first).dst_from_src, (then @ first).dst_from_src)


def test_rboxes_are_exact_under_a_similarity():
    warp = _random_warp('similarity', (100, 100))
    rboxes = torch.tensor([[[40.0, 50.0, 20.0, 8.0, 0.3], [10, 20, 6, 6, -1.0]]] * 3)
    moved, corners = warp.transform_rboxes(rboxes), warp.transform_qboxes(rbox_to_qbox(rboxes))
    expected = sorted_corners(corners)
    assert torch.allclose(sorted_corners(rbox_to_qbox(moved)), expected, atol=1e-4)


def sorted_corners(qboxes):
    """Corners in an order that does not depend on which one is the first."""
    corners = qboxes.unflatten(-1, (4, 2))
    order = (corners[..., 0] * 1000 + corners[..., 1]).argsort(-1)
    return corners.gather(-2, order[..., None].expand(corners.shape))


def test_hboxes_by_the_ellipse_are_tighter_and_exact_for_scales():
    turn = MatrixWarp.from_parameters(torch.tensor([[math.pi / 4]]), 'rotation', (100, 100))
    box = torch.tensor([[[40.0, 40.0, 60.0, 60.0]]])
    assert torch.allclose(turn.transform_hboxes(box, 'ellipse'), box)  # a circle stays one
    corners = turn.transform_hboxes(box, 'corners')
    assert torch.allclose(corners[0, 0, 2] - corners[0, 0, 0], torch.tensor(20 * math.sqrt(2)))
    scale = MatrixWarp(scaling(2, 3)[None], (100, 100), (300, 200))
    assert torch.allclose(scale.transform_hboxes(box, 'ellipse'), transform_hboxes(box, scaling(2, 3)))


def test_local_matrices_agree_to_first_order():
    warp = MatrixWarp(HOMOGRAPHY[None], (100, 100))
    point = torch.tensor([[[30.0, 40.0]]], dtype=torch.float64)
    local, step = warp.local_matrices(point)[0, 0], torch.tensor([1e-4, -2e-4], dtype=torch.float64)
    exact = warp.transform_points(point + step)[0, 0]
    approximate = local[:2, :2] @ (point[0, 0] + step) + local[:2, 2]
    assert torch.allclose(approximate, exact, rtol=0, atol=1e-9)


def test_at_stride_scales_the_frame():
    warp = _random_warp('affine', (64, 100))
    cells, points = warp.at_stride(8), torch.rand(3, 5, 2, dtype=torch.float64) * 60
    assert cells.src_size == cells.dst_size == (8, 13)
    assert torch.allclose(cells.transform_points(points / 8), warp.transform_points(points) / 8)


def test_opencv_shows_the_same_image():
    image = np.random.default_rng(0).integers(0, 255, (40, 50), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 2).astype(np.float32)
    warp = MatrixWarp(HOMOGRAPHY[None], (40, 50))
    expected = cv2.warpPerspective(image, opencv_matrix(HOMOGRAPHY).numpy(), (50, 40))
    found = warp.transform_images(torch.from_numpy(image)[None, None])[0, 0].numpy()
    inside = warp.valid_mask()[0, 0].numpy()
    inside = cv2.erode(inside.astype(np.uint8), np.ones((3, 3)), borderValue=0) > 0
    # OpenCV places samples on a grid of 1/32 pixel
    assert np.abs(found - expected)[inside].max() < np.abs(np.diff(image, axis=0)).max() / 16


def test_coverage_and_mask_of_a_shift():
    warp = MatrixWarp(translation(25, 0)[None], (50, 100))
    assert warp.coverage().item() == pytest.approx(0.75)
    mask = warp.valid_mask()
    assert mask.shape == (1, 1, 50, 100)
    assert not mask[..., :25].any()
    assert mask[..., 25:].all()


def test_log_det_of_scales():
    warp = MatrixWarp(torch.stack([scaling(2, 3), scaling(-1, 1)]), (50, 100))
    assert torch.allclose(warp.log_det(), torch.tensor([[math.log(6)], [0.0]], dtype=torch.float64))


SINGULAR = torch.diag(torch.tensor([1.0, 0.0, 1.0]))
HORIZON = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-0.02, 0, 1]])  # at x = 50


@pytest.mark.parametrize('matrix', [SINGULAR, HORIZON, torch.full((3, 3), torch.nan), -torch.eye(3)])
def test_degenerate_maps_are_found(matrix):
    warp = MatrixWarp(torch.stack([torch.eye(3), matrix, torch.eye(3)]), (100, 100))
    assert warp.is_regular().tolist() == [True, False, True]
    with pytest.raises(InputError, match=r'maps \[1\] of 3 are singular, folded'):
        warp.check_regular()


@pytest.mark.parametrize('matrix', [SINGULAR, HORIZON, torch.full((3, 3), torch.nan)])
def test_degenerate_maps_have_a_defined_result(matrix):
    warp = MatrixWarp(matrix[None], (100, 100))
    warp.transform_images(torch.ones(1, 1, 100, 100))
    points = torch.tensor([[[90.0, 50.0], [10.0, 50.0]]])
    moved, boxes = warp.transform_points(points), warp.transform_rboxes(torch.tensor([[[90.0, 50, 4, 2, 0.1]]]))
    if matrix is HORIZON:
        assert moved[0, 0].isnan().all()
        assert moved[0, 1].isfinite().all()
        assert boxes.isnan().all()
    assert warp.coverage().item() <= 0.5 or matrix is SINGULAR


def test_empty_batches_and_boxes():
    warp = MatrixWarp.identity(0, (10, 10))
    assert warp.transform_images(torch.zeros(0, 3, 10, 10)).shape == (0, 3, 10, 10)
    assert warp.coverage().shape == (0,)
    one = MatrixWarp.identity(1, (10, 10))
    assert one.transform_rboxes(torch.zeros(1, 0, 5)).shape == (1, 0, 5)
    assert one.transform_qboxes(torch.zeros(1, 0, 8)).shape == (1, 0, 8)
    one.check_regular()


def test_parts_of_a_batch():
    warp = _random_warp('affine', (50, 60))
    assert torch.equal(warp[1].dst_from_src, warp.dst_from_src[1:2])
    assert len(warp[1:]) == 2
    assert not warp.detach().dst_from_src.requires_grad


def test_gradient_reaches_parameters_through_images_and_boxes():
    raw = torch.full((1, 6), 0.05, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    images, points = torch.rand(1, 1, 6, 7, dtype=torch.float64), torch.rand(1, 3, 2, dtype=torch.float64) * 6
    boxes = torch.tensor([[[3.0, 3, 2, 1, 0.3]]], dtype=torch.float64)

    def outputs(raw):
        warp = MatrixWarp.from_parameters(bound(raw, 'affine'), 'affine', (6, 7))
        return (
            warp.transform_images(images),
            warp.transform_points(points),
            warp.transform_rboxes(boxes),
            warp.log_det(),
        )

    assert torch.autograd.gradcheck(outputs, raw)


def test_compiles_without_a_break():
    def move(raw, images):
        warp = MatrixWarp.from_parameters(bound(raw, 'similarity'), 'similarity', (16, 20))
        return warp.transform_images(images), warp.coverage(), warp.after(warp).at_stride(4).dst_from_src

    raw, images = torch.full((2, 4), 0.1), torch.rand(2, 3, 16, 20)
    compiled = torch.compile(move, fullgraph=True, backend='aot_eager')
    for found, expected in zip(compiled(raw, images), move(raw, images)):
        assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: MatrixWarp(torch.eye(3), 10), r'dst_from_src has shape \(3, 3\), expected \(N, 3, 3\)'),
        (lambda: MatrixWarp.identity(2, 10).transform_points(torch.zeros(1, 4, 2)), r'expected \(2, M, 2\)'),
        (lambda: MatrixWarp.identity(1, 10).transform_images(torch.zeros(1, 3, 9, 10)), r'expected \(1, C, 10, 10\)'),
        (lambda: MatrixWarp.identity(1, 10).transform_hboxes(torch.zeros(1, 1, 4), 'box'), "rule is 'box'"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()

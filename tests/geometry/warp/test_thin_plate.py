"""Thin-plate splines: interpolation, both directions, folds."""

import pytest
import torch

from stn_det.errors import InputError
from stn_det.geometry import rbox_to_qbox
from stn_det.geometry.warp import CompositeWarp, MatrixWarp, ThinPlateWarp

SIZE = (240, 288)


def _random_warp(size=SIZE, grid=4, strength=0.06, count=2):
    torch.manual_seed(0)
    return ThinPlateWarp(strength * torch.randn(count, grid**2, 2, dtype=torch.float64), size)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize('size', [(8, 8), (7, 9), (1, 6)])
def test_identity_images_bit_for_bit(dtype, size):
    torch.manual_seed(0)
    images = torch.randn(2, 3, *size).to(dtype)
    warp = ThinPlateWarp.from_parameters(torch.zeros(2, 32), size, limit=0.2)
    for padding_mode in ('zeros', 'border', 'reflection'):
        assert torch.equal(warp.transform_images(images, padding_mode), images)
    assert torch.equal(warp.inverse().transform_images(images), images)


def test_identity_points_and_boxes_bit_for_bit():
    warp = ThinPlateWarp(torch.zeros(1, 9, 2), SIZE)
    points, rboxes = torch.rand(1, 5, 2) * 200, torch.tensor([[[100.3, 80.1, 30, 10, -0.4], [5, 5, 3, 3, 0.1]]])
    assert torch.equal(warp.transform_points(points), points)
    assert torch.equal(warp.transform_rboxes(rboxes), rboxes)
    assert torch.equal(warp.inverse().transform_points(points), points)


def test_control_points_show_what_they_are_given():
    warp = _random_warp()
    unit = (240 * 288) ** 0.5 / 2
    x, y = torch.linspace(0, 288, 4, dtype=torch.float64), torch.linspace(0, 240, 4, dtype=torch.float64)
    control = torch.stack(torch.meshgrid(x, y, indexing='xy'), -1).view(1, 16, 2).expand(2, -1, -1)
    shown = warp.inverse().transform_points(control)
    assert torch.allclose(shown, control + unit * warp.displacements, rtol=0, atol=1e-9)


def test_a_common_displacement_is_a_shift():
    warp = ThinPlateWarp(torch.tensor([0.1, -0.2]).expand(1, 16, 2), (100, 100))
    moved = warp.transform_points(torch.tensor([[[40.0, 50.0]]]))
    assert torch.allclose(moved, torch.tensor([[[35.0, 60.0]]]))


@pytest.mark.parametrize('grid', [2, 3, 5])
def test_there_and_back(grid):
    warp, points = _random_warp(grid=grid), torch.rand(2, 200, 2, dtype=torch.float64) * 240
    assert warp.is_regular().all()
    back = warp.inverse().transform_points(warp.transform_points(points))
    assert (back - points).abs().max() < 1e-8


def test_images_and_points_agree():
    warp, center = _random_warp(), torch.tensor([[[133.4, 110.7]]]).expand(2, 1, 2)
    y, x = torch.meshgrid(torch.arange(240) + 0.5, torch.arange(288) + 0.5, indexing='ij')
    dot = torch.exp(-((x - 133.4) ** 2 + (y - 110.7) ** 2) / (2 * 2.0**2)).expand(2, 1, *SIZE)
    for maps in (warp, warp.inverse()):
        moved = maps.transform_images(dot)
        mass = moved.sum((2, 3))
        centroid = torch.stack([(moved * x).sum((2, 3)) / mass, (moved * y).sum((2, 3)) / mass], -1)
        assert (centroid - maps.transform_points(center)).abs().max() < 0.05


def test_small_boxes_follow_their_corners():
    warp = _random_warp()
    rboxes = torch.tensor([[[140.0, 100.0, 4.0, 2.0, 0.3]]], dtype=torch.float64).expand(2, 1, 5)
    centers = warp.transform_qboxes(rbox_to_qbox(rboxes)).unflatten(-1, (4, 2)).mean(-2)
    moved = warp.transform_rboxes(rboxes)
    assert (moved[..., :2] - centers).abs().max() < 0.05
    area = warp.local_matrices(rboxes[..., :2])[..., :2, :2].det() * 8
    assert torch.allclose(moved[..., 2] * moved[..., 3], area)


def test_jacobian_agrees_with_finite_differences():
    warp, point = _random_warp(), torch.tensor([[[60.0, 70.0]]], dtype=torch.float64).expand(2, 1, 2)
    for maps in (warp, warp.inverse()):
        linear = maps.local_matrices(point)[:, 0, :2, :2]
        steps = torch.eye(2, dtype=torch.float64) * 1e-3
        ahead = torch.cat([maps.transform_points(point + step) for step in steps], 1)
        behind = torch.cat([maps.transform_points(point - step) for step in steps], 1)
        assert torch.allclose(linear, ((ahead - behind) / 2e-3).mT, rtol=0, atol=1e-6)


def test_folds_are_found():
    displacements = torch.zeros(2, 16, 2)
    displacements[1, 5, 0], displacements[1, 6, 0] = 1.5, -1.5  # two neighbours pass each other
    warp = ThinPlateWarp(displacements, SIZE)
    assert warp.inverse().is_regular().tolist() == [True, False]
    with pytest.raises(InputError, match=r'maps \[1\] of 2 are singular, folded'):
        warp.inverse().check_regular()


def test_limits_keep_splines_from_folding():
    torch.manual_seed(0)
    warp = ThinPlateWarp.from_parameters(5 * torch.randn(50, 32, dtype=torch.float64), SIZE, limit=0.13)
    assert warp.displacements.abs().max() <= 0.13
    assert warp.inverse().is_regular().float().mean() > 0.9


def test_gradient_of_both_directions():
    torch.manual_seed(0)
    displacements = (0.05 * torch.randn(1, 9, 2, dtype=torch.float64)).requires_grad_()
    points = (torch.rand(1, 3, 2, dtype=torch.float64) * 10).requires_grad_()

    def outputs(displacements, points):
        warp = ThinPlateWarp(displacements, (10, 12))
        return warp.transform_points(points), warp.inverse().transform_points(points)

    assert torch.autograd.gradcheck(outputs, (displacements, points))


def test_gradient_reaches_displacements_through_images():
    torch.manual_seed(0)
    displacements = (0.03 * torch.randn(1, 16, 2)).requires_grad_()
    ThinPlateWarp(displacements, (20, 20)).transform_images(torch.rand(1, 2, 20, 20)).square().sum().backward()
    assert (displacements.grad.abs() > 0).all()


def test_composites_resample_once_and_read_like_matrices():
    spline, turn = _random_warp(), MatrixWarp.from_parameters(torch.tensor([[0.3], [0.1]]), 'rotation', SIZE)
    both, points = turn @ spline, torch.rand(2, 7, 2, dtype=torch.float64) * 240
    assert isinstance(both, CompositeWarp)
    assert torch.equal(both.transform_points(points), turn.transform_points(spline.transform_points(points)))
    back = both.inverse().transform_points(both.transform_points(points))
    assert (back - points).abs().max() < 1e-8
    y = (torch.arange(240) + 0.5)[:, None].expand(SIZE)
    shown = both.transform_images(y.expand(2, 1, *SIZE), padding_mode='border')
    middle = both.inverse().transform_points(torch.tensor([[[144.5, 120.5]]]).expand(2, 1, 2))
    assert torch.allclose(shown[:, 0, 120, 144], middle[:, 0, 1], atol=1e-3)


def test_feature_maps_follow_at_their_stride():
    warp = _random_warp()
    cells, points = warp.at_stride(8), torch.rand(2, 5, 2, dtype=torch.float64) * 200
    assert cells.src_size == cells.dst_size == (30, 36)
    assert torch.allclose(cells.transform_points(points / 8), warp.transform_points(points) / 8, rtol=0, atol=1e-8)
    assert cells.transform_images(torch.rand(2, 4, 30, 36)).shape == (2, 4, 30, 36)


def test_parts_of_a_batch_and_detaching():
    warp = ThinPlateWarp(torch.zeros(3, 9, 2, requires_grad=True), SIZE)
    assert len(warp[1]) == 1
    assert len(warp.inverse()[:2]) == 2
    assert not warp.inverse().detach().transform_points(torch.zeros(3, 1, 2)).requires_grad


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (
            lambda: ThinPlateWarp(torch.zeros(1, 8, 2), 10),
            r'displacements have shape \(1, 8, 2\), expected \(N, G \* G',
        ),
        (lambda: ThinPlateWarp.from_parameters(torch.zeros(1, 32), 10, limit=0), 'limit is 0, expected'),
        (
            lambda: ThinPlateWarp(torch.zeros(1, 9, 2), 10).transform_images(torch.zeros(1, 1, 10, 10), antialias=True),
            'antialias is True, which ThinPlateWarp does not offer',
        ),
        (
            lambda: CompositeWarp(MatrixWarp.identity(1, 10), MatrixWarp.identity(1, 12)),
            r'first has 1 maps to a frame of \(10, 10\), then 1 from one of \(12, 12\)',
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()

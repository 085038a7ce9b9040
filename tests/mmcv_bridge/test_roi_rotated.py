"""Pooling of rotated regions through mmcv's public wrappers."""

import math

import mmcv.ops
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

SCALE = 0.5


def plane(height: int, width: int, slope_x: float, slope_y: float) -> Tensor:
    """A map (1, 1, H, W) whose bilinear surface is slope_x * x + slope_y * y, pixel centres at whole numbers."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing='ij')
    return (slope_x * x + slope_y * y)[None, None]


def upright(rois: Tensor) -> Tensor:
    return torch.cat([rois[:, :1], rois[:, 1:3] - rois[:, 3:5] / 2, rois[:, 1:3] + rois[:, 3:5] / 2], 1)


@pytest.mark.parametrize('aligned', [True, False])
def test_without_rotation_it_is_roi_align(aligned: bool) -> None:
    x = torch.randn(2, 3, 12, 14)
    rois = torch.tensor([[0, 12.0, 10.0, 9.0, 7.0, 0.0], [1, 20.0, 3.0, 14.0, 11.0, 0.0]])
    layer = mmcv.ops.RoIAlignRotated((3, 2), SCALE, 0, aligned)
    torch.testing.assert_close(layer(x, rois), mmcv.ops.RoIAlign((3, 2), SCALE, 0, aligned=aligned)(x, upright(rois)))


@pytest.mark.parametrize('clockwise', [True, False])
def test_bin_centres_turn_with_the_region(clockwise: bool) -> None:
    """On a linear surface a bin's mean is the surface at the bin's centre, which is known."""
    theta = 0.6
    roi = torch.tensor([[0, 21.0, 19.0, 12.0, 8.0, theta]])
    angle = theta if clockwise else -theta
    across = torch.tensor([-0.25, 0.25]) * 12 * SCALE
    down = torch.tensor([-0.25, 0.25]) * 8 * SCALE
    expected_x = 21 * SCALE - 0.5 + math.cos(angle) * across[None] - math.sin(angle) * down[:, None]
    expected_y = 19 * SCALE - 0.5 + math.sin(angle) * across[None] + math.cos(angle) * down[:, None]
    for slopes, expected in (((1.0, 0.0), expected_x), ((0.0, 1.0), expected_y)):
        result = mmcv.ops.RoIAlignRotated(2, SCALE, 2, True, clockwise)(plane(24, 26, *slopes), roi)
        torch.testing.assert_close(result[0, 0], expected)


def test_a_negative_sampling_ratio_is_adaptive() -> None:
    x = torch.randn(1, 2, 24, 26, requires_grad=True)
    rois = torch.tensor([[0, 21.0, 19.0, 12.0, 8.0, 0.6]])
    results = [mmcv.ops.RoIAlignRotated(2, SCALE, ratio)(x, rois) for ratio in (-1, 0)]
    assert torch.equal(*results)
    grads = [torch.autograd.grad(result.square().sum(), x)[0] for result in results]
    assert torch.equal(*grads)


def test_gradient_to_the_features() -> None:
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 5.0, 4.0, 6.0, 3.0, 0.7], [0, 11.0, 9.0, 8.0, 5.0, -1.2]]).double()
    assert gradcheck(lambda a: mmcv.ops.roi_align_rotated(a, rois, (2, 2), SCALE, 2, True, True), (x,))


def test_rotation_invariant_pooling_turns_the_orientation_channels() -> None:
    orientations, channels = 4, 2
    x = torch.randn(1, channels * orientations, 12, 12)

    def pools(theta: float) -> tuple[Tensor, Tensor]:
        roi = torch.tensor([[0, 12.0, 11.0, 9.0, 6.0, theta]])
        turned = mmcv.ops.RiRoIAlignRotated((2, 2), SCALE, 2, orientations, True)(x, roi)
        plain = mmcv.ops.RoIAlignRotated((2, 2), SCALE, 2, False, True)(x, roi)
        return (value.view(channels, orientations, 2, 2) for value in (turned, plain))

    turned, plain = pools(math.pi / 2 + 1e-6)  # a quarter turn is one of four orientations
    torch.testing.assert_close(turned, plain.roll(1, 1), atol=1e-4, rtol=1e-4)
    turned, plain = pools(math.pi / 4)  # between two: their mean
    torch.testing.assert_close(turned, (plain + plain.roll(-1, 1)) / 2, atol=1e-4, rtol=1e-4)
    turned, plain = pools(-math.pi / 2 + 1e-6)
    torch.testing.assert_close(turned, plain.roll(-1, 1), atol=1e-4, rtol=1e-4)


def test_rotation_invariant_pooling_gradient() -> None:
    x = torch.randn(1, 4, 4, 5, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 5.0, 4.0, 6.0, 3.0, 0.7]]).double()
    assert gradcheck(lambda a: mmcv.ops.riroi_align_rotated(a, rois, (2, 2), SCALE, 2, 4, False), (x,))


@pytest.mark.parametrize('points', [1, 5])
def test_feature_alignment_on_a_linear_surface(points: int) -> None:
    """Corners lie symmetrically around the centre, so their mean on a linear surface is the centre's value."""
    x = plane(10, 12, 1.0, 100.0).expand(2, -1, -1, -1)
    boxes = torch.zeros(2, 10, 12, 5)
    boxes[..., 0], boxes[..., 1] = 32.0, 40.0  # mmcv reads (y, x, w, h, angle)
    boxes[..., 2], boxes[..., 3], boxes[..., 4] = 16.0, 8.0, 0.4
    result = mmcv.ops.rotated_feature_align(x, boxes, 1 / 8, points)
    torch.testing.assert_close(result, x + points * (100 * 4.0 + 5.0))


def test_feature_alignment_corners_and_gradient() -> None:
    x = torch.zeros(1, 1, 6, 8)
    x[0, 0, 3, 5] = 1.0
    boxes = torch.zeros(1, 6, 8, 5)
    boxes[..., :4] = torch.tensor([2.0, 3.0, 4.0, 2.0])  # centre (3, 2), corners (1 | 5, 1 | 3)
    result = mmcv.ops.rotated_feature_align(x, boxes, 1.0, 5)
    torch.testing.assert_close(result - x, torch.ones_like(x))
    boxes = torch.rand(1, 3, 4, 5, dtype=torch.float64) * 3
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda a: mmcv.ops.rotated_feature_align(a, boxes, 0.9, 5), (x,))


def test_border_align_takes_the_maximum_of_each_side() -> None:
    x = torch.zeros(1, 4, 10, 10)
    peaks = {0: (2, 4), 1: (5, 3), 2: (7, 6), 3: (4, 8)}  # (row, column) on the top, left, bottom and right side
    for side, (row, column) in peaks.items():
        x[0, side, row, column] = side + 1.0
    x.requires_grad_()
    boxes = torch.tensor([[[3.0, 2.0, 8.0, 7.0], [0.0, 0.0, 1.0, 1.0]]])
    result = mmcv.ops.border_align(x, boxes, 5)
    assert result.shape == (1, 1, 2, 4)
    assert result[0, 0].tolist() == [[1, 2, 3, 4], [0, 0, 0, 0]]
    (result[0, 0, 0] * torch.tensor([1.0, 10.0, 100.0, 1000.0])).sum().backward()
    for side, (row, column) in peaks.items():
        assert x.grad[0, side, row, column] == 10.0**side
    assert x.grad.count_nonzero() == 4


def test_border_align_gradient() -> None:
    x = torch.randn(1, 8, 5, 6, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[[0.3, 0.7, 4.1, 3.9], [1.2, 0.1, 3.3, 4.4]]]).double()
    assert gradcheck(lambda a: mmcv.ops.border_align(a, boxes, 4), (x,))

"""Pooling of upright regions through mmcv's public wrappers, against loops over pixels."""

import math

import mmcv.ops
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from stn_det import ops
from stn_det.mmcv_bridge.sampling import sample_bilinear

ROIS = torch.tensor([[0, 3.3, 2.1, 21.7, 18.2], [1, -6.0, 5.0, 9.1, 40.0], [1, 12.0, 11.0, 13.1, 12.6]]).double()
SCALE = 0.5


def read(plane: Tensor, y: float, x: float) -> Tensor:
    """One bilinear sample of a plane (H, W) by RoIAlign's rule for the border."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return plane.sum() * 0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    total = plane.sum() * 0
    for row in range(height):
        for column in range(width):
            weight = max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
            if weight:
                total = total + weight * plane[row, column]
    return total


def roi_align_by_loops(x: Tensor, rois: Tensor, size: tuple[int, int], ratio: int, aligned: bool, mode: str) -> Tensor:
    shift = 0.5 if aligned else 0.0
    output = []
    for image, *corners in rois.tolist():
        x1, y1, x2, y2 = (value * SCALE - shift for value in corners)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1), max(height, 1)
        down, across = (ratio or math.ceil(side / bins) for side, bins in ((height, size[0]), (width, size[1])))
        for plane in x[int(image)]:
            for row in range(size[0]):
                for column in range(size[1]):
                    samples = [
                        read(
                            plane,
                            y1 + (row + (i + 0.5) / down) * height / size[0],
                            x1 + (column + (j + 0.5) / across) * width / size[1],
                        )
                        for i in range(down)
                        for j in range(across)
                    ]
                    stacked = torch.stack(samples)
                    output.append(stacked.mean() if mode == 'avg' else stacked.max())
    return torch.stack(output).view(len(rois), x.shape[1], *size)


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize(('ratio', 'aligned'), [(2, True), (0, True), (0, False)])
def test_roi_align(ratio: int, aligned: bool, mode: str) -> None:
    x = torch.randn(2, 2, 8, 9, dtype=torch.float64, requires_grad=True)
    expected = roi_align_by_loops(x, ROIS, (2, 3), ratio, aligned, mode)
    layer = mmcv.ops.RoIAlign((2, 3), SCALE, ratio, pool_mode=mode, aligned=aligned)
    result = layer(x, ROIS)
    torch.testing.assert_close(result, expected)
    seed = torch.randn_like(result)
    (grad,) = torch.autograd.grad(result, x, seed)
    (grad_expected,) = torch.autograd.grad(expected, x, seed)
    torch.testing.assert_close(grad, grad_expected)


@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align_without_regions(mode: str) -> None:
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    result = mmcv.ops.roi_align(x, torch.zeros(0, 5), (7, 7), 0.25, 0, mode, True)
    assert result.shape == (0, 4, 7, 7)
    result.sum().backward()
    assert x.grad is not None
    assert not x.grad.any()


@pytest.mark.skipif(
    ops.status()['roi_align'] == 'python', reason='plain PyTorch keeps coordinates, of float32 at least'
)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_max_sends_back_to_the_right_point_in_every_dtype(dtype: torch.dtype) -> None:
    """With 400 points a bin: their numbers do not fit a half-precision buffer in one piece."""
    x = torch.randn(1, 3, 8, 9).to(dtype).requires_grad_()
    rois = torch.tensor([[0, 1.3, 2.1, 13.7, 12.2]])
    result = mmcv.ops.roi_align(x, rois, (2, 3), SCALE, 20, 'max', True)
    expected = ops.roi_align(x, rois, (2, 3), SCALE, 20, pool_mode='max')
    assert torch.equal(result, expected)
    seed = torch.randn_like(result)
    (grad,) = torch.autograd.grad(result, x, seed)
    (grad_expected,) = torch.autograd.grad(expected, x, seed)
    torch.testing.assert_close(grad, grad_expected)


def test_max_of_a_region_without_size_is_zero_and_sends_nothing_back() -> None:
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    result = mmcv.ops.roi_align(x, torch.tensor([[0.0, 2, 2, 2, 2]]), (1, 1), 1.0, 0, 'max', True)
    result.sum().backward()
    assert result.item() == 0
    assert not x.grad.any()


def test_sampling_beyond_the_border_and_nan() -> None:
    features = torch.arange(1.0, 5.0).view(1, 1, 2, 2)
    points = torch.tensor([[[-1.0, 0.0], [-1.1, 0.0], [2.0, 2.0], [2.1, 2.0], [math.nan, 0.0], [0.5, 0.5]]])
    values = sample_bilinear(features, torch.zeros(1, dtype=torch.int64), points)
    assert values.flatten().tolist() == [1, 0, 4, 0, 0, 2.5]


def test_roi_pool() -> None:
    x = torch.randn(2, 3, 12, 14, requires_grad=True)
    rois = torch.tensor([[0, 2.0, 3.0, 17.0, 15.0], [1, 0.0, 0.0, 40.0, 7.0], [1, 9.0, 9.0, 3.0, 20.0]])
    result = mmcv.ops.RoIPool((2, 3), SCALE)(x, rois)
    expected = []
    for image, x1, y1, x2, y2 in rois.tolist():
        left, top, right, bottom = x1 * SCALE, y1 * SCALE, (x2 + 1) * SCALE, (y2 + 1) * SCALE
        for plane in x[int(image)]:
            for row in range(2):
                for column in range(3):
                    step_y, step_x = (bottom - top) / 2, (right - left) / 3
                    rows = slice(math.floor(top + row * step_y), math.ceil(top + (row + 1) * step_y))
                    columns = slice(math.floor(left + column * step_x), math.ceil(left + (column + 1) * step_x))
                    window = plane[rows, columns]
                    expected.append(window.max() if window.numel() and step_x > 0 else plane.sum() * 0)
    expected_result = torch.stack(expected).view_as(result)
    torch.testing.assert_close(result, expected_result)
    seed = torch.randn_like(result)
    torch.testing.assert_close(*(torch.autograd.grad(value, x, seed)[0] for value in (result, expected_result)))


def test_deformable_roi_pool_without_shift_is_roi_align() -> None:
    x = torch.randn(2, 2, 8, 9, dtype=torch.float64)
    expected = mmcv.ops.roi_align(x, ROIS, (2, 3), SCALE, 0, 'avg', True)
    for offset in (None, torch.zeros(3, 2, 2, 3, dtype=torch.float64)):
        torch.testing.assert_close(mmcv.ops.deform_roi_pool(x, ROIS, offset, (2, 3), SCALE, 0, 0.1), expected)


def test_deformable_roi_pool_shift_and_gradients() -> None:
    x = torch.randn(2, 2, 8, 9, dtype=torch.float64, requires_grad=True)
    rois = ROIS[:1]
    offset = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    offset[:, 0] = 0.5  # along x: gamma * width * 0.5 pixels of the map
    moved = rois.clone()
    moved[:, [1, 3]] += 0.2 * 0.5 * (rois[:, 3] - rois[:, 1])
    shifted = mmcv.ops.deform_roi_pool(x, rois, offset, (2, 2), SCALE, 2, 0.2)
    torch.testing.assert_close(shifted, mmcv.ops.roi_align(x, moved, (2, 2), SCALE, 2, 'avg', True))
    offset = (torch.rand_like(offset) - 0.5).requires_grad_()
    assert gradcheck(lambda a, b: mmcv.ops.deform_roi_pool(a, rois, b, (2, 2), SCALE, 2, 0.2), (x, offset))


def test_precise_roi_pool_is_the_mean_of_the_bilinear_surface() -> None:
    x = torch.randn(2, 2, 8, 9)
    rois = torch.tensor([[0, 2.6, 3.0, 13.0, 12.2], [1, -3.0, 4.0, 25.0, 9.0]])
    result = mmcv.ops.PrRoIPool((2, 2), SCALE)(x, rois)
    steps = (torch.arange(400) + 0.5) / 400
    padded = torch.nn.functional.pad(x, (9, 9, 9, 9))  # outside the map the surface falls to zero
    for index, (image, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (value * SCALE + 9 for value in corners)
        ys, xs = y1 + steps * (y2 - y1), x1 + steps * (x2 - x1)
        points = torch.stack(torch.meshgrid(xs, ys, indexing='xy'), -1)
        surface = sample_bilinear(padded, torch.tensor([int(image)]), points[None])[0]  # (400, 400, C)
        expected = surface.unflatten(0, (2, 200)).unflatten(2, (2, 200)).mean((1, 3)).permute(2, 0, 1)
        torch.testing.assert_close(result[index], expected, atol=2e-4, rtol=1e-3)


def test_precise_roi_pool_gradients() -> None:
    x = torch.randn(1, 2, 8, 9, requires_grad=True)
    rois = torch.tensor([[0, 2.6, 3.0, 13.0, 12.2]], requires_grad=True)
    seed = torch.randn(1, 2, 2, 2)
    grads = torch.autograd.grad(mmcv.ops.prroi_pool(x, rois, (2, 2), SCALE), (x, rois), seed)
    for variable, grad in zip((x, rois), grads):
        step = 1e-2 * torch.randn_like(variable)
        step[variable is rois, ..., 0] = 0  # not the image index
        pair = [variable + step / 2, variable - step / 2]
        values = [mmcv.ops.prroi_pool(*((v, rois) if variable is x else (x, v)), (2, 2), SCALE) for v in pair]
        change = ((values[0] - values[1]) * seed).sum()
        torch.testing.assert_close((grad * step).sum(), change, atol=2e-4, rtol=2e-2)

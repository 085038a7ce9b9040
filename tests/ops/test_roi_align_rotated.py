"""RoIAlign of rotated regions."""

import math

import pytest
import torch

from stn_det.errors import InputError
from stn_det.ops import roi_align, roi_align_rotated

pytestmark = pytest.mark.usefixtures('implementation')
ROIS = [[0, 5.0, 4.5, 6.0, 3.0, 0.4], [1, 2.0, 7.0, 9.0, 5.0, -1.1], [1, 9.0, 8.0, 3.0, 12.0, 2.5]]


def plain_roi_align_rotated(oracle, feature, roi, output, scale, ratio, aligned, clockwise):
    cx, cy, width, height = (v * scale for v in roi[1:5])
    theta = roi[5] if clockwise else -roi[5]
    if aligned:
        cx, cy = cx - 0.5, cy - 0.5
    else:
        width, height = max(width, 1.0), max(height, 1.0)
    ph, pw = output
    grid_h, grid_w = ratio or math.ceil(height / ph), ratio or math.ceil(width / pw)
    planes = feature[int(roi[0])].tolist()
    out = torch.zeros(len(planes), ph, pw, dtype=torch.float64)
    for channel, plane in enumerate(planes):
        for i in range(ph):
            for j in range(pw):
                total = 0.0
                for a in range(grid_h):
                    for b in range(grid_w):
                        v = -height / 2 + height / ph * (i + (a + 0.5) / grid_h)
                        u = -width / 2 + width / pw * (j + (b + 0.5) / grid_w)
                        x = cx + math.cos(theta) * u - math.sin(theta) * v
                        y = cy + math.sin(theta) * u + math.cos(theta) * v
                        total += oracle.bilinear(plane, y, x, zero_border=False)
                out[channel, i, j] = total / (grid_h * grid_w)
    return out


@pytest.mark.parametrize('clockwise', [True, False])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize(('scale', 'ratio'), [(1.0, 2), (0.5, 0)])
def test_matches_a_plain_loop(oracle, clockwise: bool, aligned: bool, scale: float, ratio: int) -> None:
    feature, rois = torch.randn(2, 2, 9, 11, dtype=torch.float64), torch.tensor(ROIS, dtype=torch.float64)
    values = roi_align_rotated(feature, rois, (3, 2), scale, ratio, aligned, clockwise)
    expected = [plain_roi_align_rotated(oracle, feature, roi, (3, 2), scale, ratio, aligned, clockwise) for roi in ROIS]
    torch.testing.assert_close(values, torch.stack(expected), atol=1e-12, rtol=0)


@pytest.mark.parametrize('clockwise', [True, False])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_angle_zero_is_plain_roi_align(clockwise: bool, aligned: bool, ratio: int) -> None:
    feature = torch.randn(2, 3, 12, 14)
    rois = torch.tensor([[0, 5.0, 6, 7, 3, 0], [1, 3.0, 3, 12, 8, 0]])
    corners = torch.cat([rois[:, :1], rois[:, 1:3] - rois[:, 3:5] / 2, rois[:, 1:3] + rois[:, 3:5] / 2], 1)
    rotated = roi_align_rotated(feature, rois, (4, 3), 0.75, ratio, aligned, clockwise)
    torch.testing.assert_close(rotated, roi_align(feature, corners, (4, 3), 0.75, ratio, aligned), atol=1e-5, rtol=0)


def test_clockwise_agrees_with_the_boxes_of_this_package() -> None:
    feature = torch.zeros(1, 1, 16, 16)
    feature[0, 0].fill_diagonal_(1.0)  # runs from top left to bottom right: theta = +45 degrees
    roi = torch.tensor([[0, 8.0, 8, 12, 1, math.pi / 4]])
    along = roi_align_rotated(feature, roi, (1, 6), 1.0, 4, clockwise=True).mean()
    across = roi_align_rotated(feature, roi, (1, 6), 1.0, 4, clockwise=False).mean()
    assert along > 4 * across


def test_turning_the_image_by_90_degrees_turns_the_roi() -> None:
    feature = torch.randn(1, 2, 12, 12)
    turned = feature.rot90(-1, (2, 3))  # clockwise on screen: (x, y) -> (12 - y, x)
    rois = torch.tensor([[0, 5.0, 7.0, 6, 3, 0.3]])
    moved = torch.tensor([[0, 12 - 7.0, 5.0, 6, 3, 0.3 + math.pi / 2]])
    first = roi_align_rotated(feature, rois, 3, 1.0, 2, clockwise=True)
    torch.testing.assert_close(roi_align_rotated(turned, moved, 3, 1.0, 2, clockwise=True), first, atol=1e-5, rtol=0)


@pytest.mark.parametrize('clockwise', [True, False])
def test_gradcheck_to_input_and_boxes(clockwise: bool) -> None:
    feature = torch.randn(2, 2, 7, 8, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    boxes = torch.tensor([[3.1, 3.2, 4.3, 3.4, 0.3], [5, 2, 6.1, 2.2, -1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda f, b: roi_align_rotated(f, torch.cat([index, b], 1), (2, 3), 0.9, 0, True, clockwise), (feature, boxes)
    )


def test_gradient_moves_a_box_onto_a_blob() -> None:
    axis = torch.arange(32) + 0.5
    blob = torch.exp(-((axis[None] - 20) ** 2 + (axis[:, None] - 12) ** 2) / 60)[None, None]
    box = torch.tensor([[0, 16.0, 16, 8, 8, 0.3]], requires_grad=True)
    roi_align_rotated(blob, box, 4, 1.0, 2, clockwise=True).sum().backward()
    assert box.grad[0, 1] > 0
    assert box.grad[0, 2] < 0


def test_edges() -> None:
    feature = torch.ones(1, 1, 5, 5, requires_grad=True)
    nan = math.nan
    rois = torch.tensor([[0, nan, 2, 3, 3, 0], [0, 2, 2, 3, 3, nan], [0, 2, 2, 0, 0, 0.0], [0, 2.5, 2.5, 2, 2, 0.5]])
    rois.requires_grad_()
    pooled = roi_align_rotated(feature, rois, 2, 1.0)
    pooled.sum().backward()
    assert pooled.flatten(1).mean(1).tolist() == pytest.approx([0, 0, 0, 1])
    assert rois.grad.isfinite().all()
    assert roi_align_rotated(feature, torch.zeros(0, 6), (3, 2), 1.0).shape == (0, 1, 3, 2)
    half = roi_align_rotated(feature.detach().bfloat16(), rois.detach(), 2, 1.0)
    assert half.dtype == torch.bfloat16
    with pytest.raises(InputError, match=r'rois has shape \(1, 5\), expected \(R, 6\)'):
        roi_align_rotated(feature, torch.zeros(1, 5), 2, 1.0)


def test_an_absurdly_large_roi_stays_affordable() -> None:
    pooled = roi_align_rotated(torch.ones(1, 1, 8, 8), torch.tensor([[0, 4, 4, 1e9, 1e9, 0.3]]), 2, 1.0)
    assert pooled.isfinite().all()

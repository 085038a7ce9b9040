"""RoIAlign against a plain loop."""

import math

import pytest
import torch

from stn_det.errors import InputError
from stn_det.ops import roi_align

pytestmark = pytest.mark.usefixtures('implementation')
ROIS = [[0, 2.0, 3.0, 9.5, 8.0], [1, -3.0, 1.0, 6.0, 5.5], [1, 4.0, 4.0, 20.0, 18.0], [0, 7.0, 7.0, 7.2, 7.1]]


def plain_roi_align(oracle, feature, roi, output, scale, ratio, aligned, mode):
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (v * scale - shift for v in roi[1:])
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = max(width, 1.0), max(height, 1.0)
    ph, pw = output
    grid_h, grid_w = (ratio or math.ceil(size / bins) for size, bins in ((height, ph), (width, pw)))
    planes = feature[int(roi[0])].tolist()
    out = torch.zeros(len(planes), ph, pw, dtype=torch.float64)
    for channel, plane in enumerate(planes):
        for i in range(ph):
            for j in range(pw):
                samples = [
                    oracle.bilinear(
                        plane,
                        y1 + height / ph * (i + (a + 0.5) / grid_h),
                        x1 + width / pw * (j + (b + 0.5) / grid_w),
                        zero_border=False,
                    )
                    for a in range(grid_h)
                    for b in range(grid_w)
                ]
                out[channel, i, j] = max(samples) if mode == 'max' else sum(samples) / len(samples)
    return out


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize(('scale', 'ratio'), [(1.0, 2), (0.5, 0), (1.0, 0)])
def test_matches_a_plain_loop(oracle, mode: str, aligned: bool, scale: float, ratio: int) -> None:
    feature, rois = torch.randn(2, 2, 9, 11, dtype=torch.float64), torch.tensor(ROIS, dtype=torch.float64)
    values = roi_align(feature, rois, (3, 2), scale, ratio, aligned, mode)
    expected = [plain_roi_align(oracle, feature, roi, (3, 2), scale, ratio, aligned, mode) for roi in ROIS]
    torch.testing.assert_close(values, torch.stack(expected), atol=1e-12, rtol=0)


def test_a_ramp_gives_the_bin_centres() -> None:
    columns = (torch.arange(12) + 0.5).expand(1, 1, 10, 12)  # value = x in continuous pixels
    pooled = roi_align(columns, torch.tensor([[0, 2.0, 2, 8, 8]]), 3)
    torch.testing.assert_close(pooled[0, 0], torch.tensor([[3.0, 5, 7]]).expand(3, 3))


def test_shares_of_rois_do_not_change_the_result(monkeypatch) -> None:
    feature, rois = torch.randn(2, 3, 9, 11), torch.tensor(ROIS).repeat(3, 1)
    whole = roi_align(feature, rois, 3)
    monkeypatch.setattr('stn_det.ops._roi_grid.POINTS_AT_ONCE', 20)
    torch.testing.assert_close(roi_align(feature, rois, 3), whole, atol=0, rtol=0)


@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_gradcheck(mode: str) -> None:
    feature = torch.randn(2, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 1, 1, 4, 4], [1, -2, 1.5, 5, 5.5]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: roi_align(f, rois, (2, 3), 0.9, 0, True, mode), (feature,))


def test_rois_that_are_not_finite_give_zero() -> None:
    rois = torch.tensor([[math.nan, 0, 0, 3, 3], [0, math.inf, 0, 3, 3], [0, 0, 0, math.nan, 3], [0, 0, 0, 3, 3]])
    for ratio in (0, 2):
        pooled = roi_align(torch.ones(1, 1, 5, 5), rois, 2, sampling_ratio=ratio)
        assert pooled.flatten(1).tolist() == [[0] * 4, [0] * 4, [0] * 4, [1] * 4]


def test_layouts_half_and_autocast() -> None:
    feature, rois = torch.randn(2, 4, 9, 11), torch.tensor(ROIS)
    expected = roi_align(feature, rois, 2)
    torch.testing.assert_close(roi_align(feature.to(memory_format=torch.channels_last), rois, 2), expected)
    half = feature.bfloat16()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        pooled = roi_align(half, rois, 2)
        assert torch.equal(roi_align(feature, rois, 2), expected)
    assert pooled.dtype == torch.bfloat16
    assert torch.equal(pooled, roi_align(half.float(), rois, 2).bfloat16())


def test_empty_rois_keep_the_graph() -> None:
    feature = torch.randn(1, 3, 4, 4, requires_grad=True)
    pooled = roi_align(feature, torch.zeros(0, 5), (2, 5))
    assert pooled.shape == (0, 3, 2, 5)
    pooled.sum().backward()
    assert feature.grad.abs().sum() == 0


def test_errors() -> None:
    feature, rois = torch.zeros(1, 3, 4, 4), torch.zeros(1, 5)
    with pytest.raises(InputError, match=r'rois has shape \(1, 6\), expected \(R, 5\)'):
        roi_align(feature, torch.zeros(1, 6), 2)
    with pytest.raises(InputError, match=r'input has shape \(3, 4, 4\), expected \(N, C, H, W\)'):
        roi_align(feature[0], rois, 2)
    with pytest.raises(InputError, match=r'output_size is \(0, 2\), expected positive sizes'):
        roi_align(feature, rois, (0, 2))
    with pytest.raises(InputError, match=r'output_size is 2.5, expected an int or a pair'):
        roi_align(feature, rois, 2.5)
    with pytest.raises(InputError, match='sampling_ratio is -1'):
        roi_align(feature, rois, 2, sampling_ratio=-1)
    with pytest.raises(InputError, match="pool_mode is 'sum', expected one of 'avg', 'max'"):
        roi_align(feature, rois, 2, pool_mode='sum')
    with pytest.raises(InputError, match=r'input has shape \(1, 3, 0, 4\), expected pixels to read for 1 rois'):
        roi_align(torch.zeros(1, 3, 0, 4), rois, 2)

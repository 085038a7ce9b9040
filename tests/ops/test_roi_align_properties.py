"""What RoIAlign does for any RoI: linear in its input, moving with it, and upright without an angle."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stn_det.ops import roi_align, roi_align_rotated

pytestmark = pytest.mark.usefixtures('compiled')

SIZE = (3, 2)
SCALE = 0.5
HEIGHT, WIDTH = 23, 29

ROI = st.tuples(st.floats(-10, 60), st.floats(-10, 60), st.floats(0.1, 60), st.floats(0.1, 60), st.floats(-7, 7))


@settings(max_examples=60, deadline=None)
@given(roi=ROI, ratio=st.integers(0, 3), scale=st.sampled_from([1.0, 0.25]), factor=st.floats(-3, 3))
def test_is_linear_in_the_input(roi, ratio, scale, factor) -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 1, 2, 12, 15, generator=generator, dtype=torch.float64)
    rois = torch.tensor([[0.0, *roi]], dtype=torch.float64)

    def pool(x):
        return roi_align_rotated(x, rois, SIZE, scale, ratio, clockwise=True)

    torch.testing.assert_close(pool(one + factor * other), pool(one) + factor * pool(other), atol=1e-12, rtol=0)


@settings(max_examples=60, deadline=None)
@given(roi=ROI, ratio=st.integers(1, 3), by=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_moves_with_the_map_by_whole_pixels(roi, ratio, by) -> None:
    """A map in the middle of zeros, and everything around it, moved together."""
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(1, 2, 8, 9, generator=generator, dtype=torch.float64)
    field = torch.nn.functional.pad(feature, (80, 90, 80, 90))
    moved = torch.nn.functional.pad(feature, (80 + by[0], 90 - by[0], 80 + by[1], 90 - by[1]))
    rois = torch.tensor([[0.0, *roi]], dtype=torch.float64)
    rois[:, 1:3] += 60
    after = rois.clone()
    after[:, 1:3] += torch.tensor(by)
    found = roi_align_rotated(moved, after, SIZE, 1.0, ratio)
    torch.testing.assert_close(found, roi_align_rotated(field, rois, SIZE, 1.0, ratio), atol=1e-11, rtol=0)


@settings(max_examples=60, deadline=None)
@given(roi=ROI, ratio=st.integers(0, 3), clockwise=st.booleans(), aligned=st.booleans())
def test_without_an_angle_it_is_the_axis_aligned_operator(roi, ratio, clockwise, aligned) -> None:
    """Up to rounding; sides are multiples of 1/8, because the size of the adaptive grid jumps.

    They are at least 2, a pixel of the map: without ``aligned``, smaller ones grow from the centre or from the corner.
    """
    feature = torch.randn(2, 5, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    roi = torch.tensor([[0.0, *(round(8 * part) / 8 for part in roi[:4]), 0.0]], dtype=torch.float64)
    roi[:, 3:5] += 2
    half = roi[:, 3:5] / 2
    corners = torch.cat([roi[:, :1], roi[:, 1:3] - half, roi[:, 1:3] + half], 1)
    found = roi_align_rotated(feature, roi, SIZE, SCALE, ratio, aligned, clockwise)
    torch.testing.assert_close(found, roi_align(feature, corners, SIZE, SCALE, ratio, aligned), atol=1e-11, rtol=0)

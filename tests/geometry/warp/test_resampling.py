"""What resampling does to an image that is known everywhere, not at its pixels only."""

import math

import pytest
import torch

from stn_det.geometry import rotation_matrix, scaling
from stn_det.geometry.warp import MatrixWarp
from stn_det.geometry.warp.base import pixel_centers

SIZE = (96, 128)
CENTER = (64.0, 48.0)
WAVES = ((0.21, 0.08, 0.3), (-0.11, 0.25, 1.1), (0.05, -0.17, 2.0), (0.29, 0.02, 0.7))  # radians per pixel, phase


def _waves(points):
    """A sum of plane waves, none shorter than 21 pixels, at points (..., 2)."""
    return sum(torch.cos(points[..., 0] * a + points[..., 1] * b + phase) for a, b, phase in WAVES)


def _image(dst_from_src=None):
    """The waves after a map, exactly."""
    centers = pixel_centers(SIZE, 1, torch.device('cpu'))
    if dst_from_src is not None:
        centers = MatrixWarp(dst_from_src[None], SIZE).inverse().transform_points(centers)
    return _waves(centers).view(1, 1, *SIZE)


def _estimate(make, truth, start):
    """The parameter whose resampled image is nearest to the exact one, by Gauss-Newton steps."""
    exact, value = _image(make(truth)), start
    for _ in range(6):
        step = 1e-4
        images = [
            MatrixWarp(make(at)[None], SIZE).transform_images(_image())[..., 20:-20, 20:-20]
            for at in (value - step, value, value + step)
        ]
        slope, miss = (images[2] - images[0]) / (2 * step), exact[..., 20:-20, 20:-20] - images[1]
        value += float((slope * miss).sum() / (slope * slope).sum())
    return value


@pytest.mark.parametrize('scale', [0.93, 1.0, 1.08])
def test_no_scale_bias(scale):
    found = _estimate(lambda factor: scaling(factor, factor, CENTER), scale, start=1.0)
    assert found == pytest.approx(scale, abs=1e-4)


@pytest.mark.parametrize('angle', [0.0, 0.05, -0.1])
def test_no_rotation_bias(angle):
    found = _estimate(lambda theta: rotation_matrix(theta, CENTER), angle, start=0.01)
    assert found == pytest.approx(angle, abs=1e-4)


@pytest.mark.parametrize('factor', [1 / 2, 1 / 3, 1 / 4, 1 / 5])
def test_antialiasing_removes_what_the_destination_cannot_show(factor):
    """A wave of 2.7 pixels is none in an image of half the size; a box of pixels leaves at most 16 % of its energy."""
    x = pixel_centers(SIZE, 1, torch.device('cpu'))[..., 0].view(1, 1, *SIZE)
    wave = torch.cos(2 * math.pi * x / 2.7)
    warp = MatrixWarp(scaling(factor, factor, CENTER)[None], SIZE)
    inside = warp.valid_mask()
    plain = warp.transform_images(wave)[inside].square().mean()
    smooth = warp.transform_images(wave, antialias=True)[inside].square().mean()
    assert smooth < 0.16 * wave.square().mean()
    assert smooth < 1.001 * plain


def test_antialiasing_keeps_what_the_destination_can_show():
    warp = MatrixWarp(scaling(0.5, 0.5, CENTER)[None], SIZE)
    inside = warp.valid_mask()
    found, exact = warp.transform_images(_image(), antialias=True), _image(scaling(0.5, 0.5, CENTER))
    assert (found - exact)[inside].square().mean() < 1e-3 * exact[inside].square().mean()


def test_nan_pixels_stay_where_they_are():
    images = torch.rand(1, 1, *SIZE)
    images[..., 40, 60] = torch.nan
    warp = MatrixWarp(rotation_matrix(0.4, CENTER)[None], SIZE)
    shown = warp.transform_images(images).isnan()
    assert 1 <= shown.sum() <= 4
    place = warp.transform_points(torch.tensor([[[60.5, 40.5]]]))[0, 0]
    rows, columns = shown[0, 0].nonzero().unbind(1)
    assert ((columns + 0.5 - place[0]).abs() < 1.5).all()
    assert ((rows + 0.5 - place[1]).abs() < 1.5).all()

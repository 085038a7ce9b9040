"""Builders of 3x3 matrices, and the half pixel between this package and OpenCV."""

import math

import cv2
import numpy as np
import pytest
import torch

from stn_det.errors import InputError
from stn_det.geometry import opencv_matrix, rotation_matrix, scaling, transform_points, translation


def test_known_values():
    point = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert transform_points(point, translation(10, -1)).tolist() == [13, 3]
    assert transform_points(point, scaling(2, -1)).tolist() == [6, -4]
    assert transform_points(point, scaling(2, 3, center=(3, 4))).tolist() == [3, 4]
    turned = transform_points(point, rotation_matrix(math.pi / 2))
    assert torch.allclose(turned, torch.tensor([-4.0, 3.0], dtype=torch.float64))


def test_rotation_keeps_its_centre():
    centre = torch.tensor([12.0, -7.0], dtype=torch.float64)
    assert torch.allclose(transform_points(centre, rotation_matrix(1.1, center=(12, -7))), centre)


def test_numbers_give_float64_and_tensors_their_own_type():
    assert translation(1, 2).dtype == torch.float64
    assert rotation_matrix(torch.tensor([0.1, 0.2])).dtype == torch.float32
    assert rotation_matrix(torch.tensor(0.1, dtype=torch.float16)).dtype == torch.float32


def test_batches():
    matrices = translation(torch.tensor([1.0, 2.0, 3.0]), 5.0)
    assert matrices.shape == (3, 3, 3)
    assert matrices[:, 0, 2].tolist() == [1, 2, 3]
    assert matrices[:, 1, 2].tolist() == [5, 5, 5]
    assert scaling(torch.ones(2, 4), 1.0).shape == (2, 4, 3, 3)


def test_gradient_reaches_the_parameters():
    theta = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda angle: rotation_matrix(angle, center=(3, 4)), (theta,))


@pytest.mark.parametrize('build', [lambda center: rotation_matrix(0.1, center), lambda center: scaling(1, 2, center)])
def test_centre_must_be_a_pair(build):
    with pytest.raises(InputError, match=r'center must be a pair \(x, y\) in pixels, got 3 numbers'):
        build((1, 2, 3))


@pytest.mark.parametrize(
    'matrix',
    [
        translation(3.5, -2.25),
        scaling(2.0, 2.0),
        rotation_matrix(0.4, center=(48, 32)),
        translation(4, 3) @ rotation_matrix(-0.8, center=(48, 32)) @ scaling(1.3, 0.8),
    ],
)
def test_image_and_points_move_together_through_opencv(matrix):
    """A soft dot drawn around a continuous point is found around the mapped point, to 0.05 px."""
    point = np.array([30.5, 41.25])
    y, x = np.mgrid[0:64, 0:96] + 0.5
    image = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * 4.0**2)).astype(np.float32)
    warped = cv2.warpPerspective(image, opencv_matrix(matrix).numpy(), (192, 128), flags=cv2.INTER_CUBIC)
    y, x = np.mgrid[0:128, 0:192] + 0.5
    found = np.array([(warped * x).sum(), (warped * y).sum()]) / warped.sum()
    expected = transform_points(torch.as_tensor(point), matrix).numpy()
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_opencv_without_the_half_pixel_would_be_off():
    """The trap that opencv_matrix avoids: a factor of 2 moves OpenCV's image by half a pixel."""
    difference = transform_points(torch.zeros(2, dtype=torch.float64), opencv_matrix(scaling(2, 2)))
    assert torch.allclose(difference, torch.tensor([0.5, 0.5], dtype=torch.float64))

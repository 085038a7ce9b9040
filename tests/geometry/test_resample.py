"""Image arrays seen through a matrix."""

import math

import numpy as np
import pytest
import torch

from stn_det.errors import InputError
from stn_det.geometry import rotation_matrix, scaling, translation
from stn_det.geometry.resample import resample_image


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize('turns', [0, 1, 2, 3])
def test_turns_that_take_pixels_to_pixels_are_exact(noise: np.ndarray, turns: int) -> None:
    matrix = rotation_matrix(turns * math.pi / 2, center=(20, 20))
    assert np.array_equal(resample_image(noise, matrix, 9), np.rot90(noise, -turns))


def test_a_half_turn_of_an_odd_frame_is_exact() -> None:
    image = np.random.default_rng(1).integers(0, 256, (31, 44, 3), dtype=np.uint8)
    assert np.array_equal(resample_image(image, rotation_matrix(math.pi, center=(22, 15.5)), 0), image[::-1, ::-1])


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_uncovered_pixels_get_the_colour_and_the_type_stays(dtype: type) -> None:
    image = np.full((20, 30, 3), 200, dtype)
    moved = resample_image(image, translation(10, 0), (10, 20, 30))
    assert (moved.dtype, moved.shape) == (dtype, (20, 30, 3))
    assert moved[:, :8].reshape(-1, 3).tolist() == [[10, 20, 30]] * 160
    assert np.unique(moved[:, 12:]).tolist() == [200]


@pytest.mark.parametrize('shape', [(20, 30), (20, 30, 1)])
def test_grey_images(shape: tuple[int, ...]) -> None:
    moved = resample_image(np.full(shape, 200, np.uint8), scaling(0.5, 0.5, center=(15, 10)), 7)
    assert moved.shape == shape
    assert moved[0, 0] == 7
    assert moved[10, 15] == 200


def test_a_reduction_averages_what_it_drops() -> None:
    image = np.indices((64, 64)).sum(axis=0).astype(np.float32) % 2  # the finest pattern there is
    half = resample_image(image, scaling(0.5, 0.5, center=(32, 32)), 0.5)
    assert half == pytest.approx(np.full((64, 64), 0.5))


def test_overshoot_stays_in_the_range() -> None:
    image = np.zeros((20, 20), np.uint8)
    image[:, 10:] = 255
    enlarged = resample_image(image, scaling(1.7, 1.7, center=(10, 10)), 0)
    assert (enlarged.min(), enlarged.max()) == (0, 255)
    assert (np.diff(enlarged[10].astype(int)) >= 0).all()


def test_errors(noise: np.ndarray) -> None:
    with pytest.raises(InputError, match=r'fill holds 2 numbers for an image of 3 channels'):
        resample_image(noise, torch.eye(3), (1, 2))
    with pytest.raises(InputError, match=r'have shapes \(40,\) and \(3, 3\)'):
        resample_image(noise[0, :, 0], torch.eye(3), 0)
    with pytest.raises(InputError, match=r'and \(2, 3\); expected'):
        resample_image(noise, torch.eye(3)[:2], 0)

"""From the drawn picture to what the sensor delivers: haze, tone, blur, sharpening and noise."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from stn_det.datasets.scenes.config import SceneConfig
from stn_det.datasets.scenes.noise import to_tile, white_noise

_SIDE = 1024


@lru_cache(maxsize=1)
def _noise_bank() -> np.ndarray:
    """(1024, 1024, 3) uint8 sensor noise, partly shared by the bands; 128 is 0 and 40 levels are one deviation."""
    rng = np.random.default_rng(np.random.SeedSequence([7, 3]))
    bands = [cv2.GaussianBlur(white_noise(rng, _SIDE), (0, 0), 0.55) * 1.9 for _ in range(4)]
    return to_tile(*(0.85 * bands[0] + 0.53 * band for band in bands[1:]))


def _noise(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 part of the noise bank at a random place, repeated when the image is larger."""
    height, width = shape
    y, x = (int(value) for value in rng.integers(0, _SIDE, 2))
    repeats = -(-(y + height) // _SIDE), -(-(x + width) // _SIDE)
    bank = np.tile(_noise_bank(), (*repeats, 1)) if max(repeats) > 1 else _noise_bank()
    return bank[y : y + height, x : x + width]


def _unit_noise(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(H, W) float32 noise of unit spread."""
    return (_noise(shape, rng)[..., 0].astype(np.float32) - 128.0) / 40.0


def tone_curve(config: SceneConfig, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Draw haze, exposure and colour cast as a (256, 3) uint8 table, and the values that made it."""
    haze = rng.uniform(*config.haze)
    exposure, contrast = rng.uniform(0.96, 1.16), rng.uniform(0.98, 1.22)
    dull = rng.random() < config.low_contrast
    if dull:
        contrast *= rng.uniform(0.6, 0.8)
        haze = min(0.8, haze + rng.uniform(0.02, 0.12))
    cast = 1.0 + rng.uniform(-0.035, 0.035, 3) * (1.0, 0.4, 1.0)
    levels = np.arange(256, dtype=np.float32) / 255
    curve = np.clip((levels - 0.42) * contrast + 0.42, 0.0, 1.2) * exposure
    table = curve[:, None] * cast * (1.0 - haze) + haze * np.array([0.60, 0.63, 0.67])
    facts = {'haze': haze, 'exposure': exposure, 'contrast': contrast, 'dull': float(dull)}
    return np.round(np.clip(table, 0.0, 1.0) * 255).astype(np.uint8), facts


def develop(image: np.ndarray, config: SceneConfig, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Turn the drawn picture into the colour sensor's image.

    Args:
        image: (H, W, 3) uint8.
        config: Settings of the generator.
        rng: Source of random numbers.

    Returns:
        (H, W, 3) uint8 and the drawn values, for the meta file.
    """
    table, facts = tone_curve(config, rng)
    blur, noise, sharpen = rng.uniform(*config.blur), rng.uniform(*config.noise), rng.uniform(0.25, 0.8)
    toned = cv2.LUT(image, np.ascontiguousarray(table[None]))
    if blur > 0:
        toned = cv2.GaussianBlur(toned, (0, 0), blur)
    soft = cv2.GaussianBlur(toned, (0, 0), 1.1)
    toned = cv2.addWeighted(toned, 1.0 + sharpen, soft, -sharpen, 0.0)
    share = noise / 40.0
    toned = cv2.addWeighted(toned, 1.0, _noise(image.shape[:2], rng), share, -128.0 * share)
    facts.update(blur=blur, noise=noise, sharpen=sharpen)
    return toned, facts


def develop_infrared(image: np.ndarray, config: SceneConfig, rng: np.random.Generator) -> np.ndarray:
    """Turn the drawn temperatures (H, W, 3) uint8 into a soft single-band thermal image of three equal bands."""
    band = cv2.GaussianBlur(image[..., 0].astype(np.float32), (0, 0), 0.9 + rng.uniform(*config.blur))
    band = (band - 128.0) * rng.uniform(0.9, 1.25) + rng.uniform(112.0, 136.0)
    band += _unit_noise(band.shape, rng) * (1.0 + rng.uniform(*config.noise))
    columns = _unit_noise((1, band.shape[1]), rng) * 0.9
    return np.repeat(np.clip(band + columns, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def develop_sar(image: np.ndarray, config: SceneConfig, rng: np.random.Generator) -> np.ndarray:
    """Turn the drawn reflectivity (H, W, 3) uint8 into a radar amplitude image with speckle and bright edges."""
    band = image[..., 0].astype(np.float32)
    edges = cv2.morphologyEx(image[..., 0], cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).astype(np.float32)
    bright = np.clip(band - 110, 0, None) / 145
    # Smooth metal throws the pulse away from the sensor; its edges and corners throw it back.
    power = (band / 255) ** 2 * (1.0 + bright * (4.0 * edges / 255 - 0.8))
    # Speckle of a few looks: the mean of squared pairs of Gaussian values.
    looks = np.zeros(band.shape, np.float32)
    for _ in range(4):
        looks += _unit_noise(band.shape, rng) ** 2
    power = cv2.GaussianBlur(power * (0.12 + 0.88 * looks / 4), (0, 0), 0.6)
    amplitude = np.sqrt(power) * 255 * rng.uniform(0.95, 1.15)
    return np.repeat(np.clip(amplitude, 0, 255).astype(np.uint8)[..., None], 3, axis=2)

"""Tree crowns and forest canopy: height fields made once, lit by each scene's sun."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from stn_det.datasets.scenes.noise import fractal_noise
from stn_det.datasets.scenes.tiles import TILE

_SIDE = 56
_COUNT = 12


def _normals(height: np.ndarray) -> np.ndarray:
    """(H, W, 3) unit normals of a height field given in pixels."""
    height = height.astype(np.float32)
    slope_x = cv2.Scharr(height, cv2.CV_32F, 1, 0, scale=1 / 32)
    slope_y = cv2.Scharr(height, cv2.CV_32F, 0, 1, scale=1 / 32)
    normals = np.dstack([-slope_x, -slope_y, np.ones_like(height)])
    return normals / np.linalg.norm(normals, axis=2, keepdims=True)


@lru_cache(maxsize=1)
def _crowns() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normals (N, S, S, 3), depth in the crown (N, S, S) and cover (N, S, S) of the crowns."""
    rng = np.random.default_rng(np.random.SeedSequence([7, 1]))
    y, x = np.mgrid[0:_SIDE, 0:_SIDE].astype(np.float32) / (_SIDE / 2) - 1.0 + 1.0 / _SIDE
    normals, depths, covers = [], [], []
    for _ in range(_COUNT):
        rough = fractal_noise(rng, _SIDE, (14, 14), 3, 0.95)
        clumps = np.zeros((_SIDE, _SIDE), np.float32)
        for _ in range(int(rng.integers(14, 26))):
            angle, distance = rng.uniform(0, 2 * np.pi), 0.72 * np.sqrt(rng.random())
            radius = rng.uniform(0.20, 0.36)
            cx, cy = distance * np.cos(angle), distance * np.sin(angle)
            top = 0.9 * (1.0 - 0.75 * distance**2)
            square = 1.0 - ((x - cx) ** 2 + (y - cy) ** 2) / radius**2
            clumps = np.maximum(clumps, np.where(square > 0, top + 0.26 * np.clip(square, 0, 1) - 0.24, 0.0))
        height = clumps + 0.05 * rough * (clumps > 0.02)
        cover = np.clip((clumps + 0.06 * rough - 0.05) * 9.0, 0.0, 1.0)
        normals.append(_normals(cv2.GaussianBlur(height, (0, 0), 0.6) * _SIDE * 0.34))
        depths.append(np.clip(0.40 + 0.72 * height, 0.0, 1.2) * (1.0 + 0.15 * rough))
        covers.append(cv2.GaussianBlur(cover.astype(np.float32), (0, 0), 0.7))
    return np.stack(normals), np.stack(depths).astype(np.float32), np.stack(covers)


def _dome(rng: np.random.Generator) -> np.ndarray:
    """(S, S) float32 in [0, 1]: the height of one crown of the forest, with lobes, 0 outside."""
    radius = float(np.clip(rng.lognormal(2.35, 0.32), 5.0, 20.0))
    reach = int(radius * 1.25) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] - rng.uniform(0, 1, (2, 1, 1))
    angles = np.arctan2(y, x)
    lobes = 1.0 + 0.07 * np.cos(angles * rng.integers(3, 6) + rng.uniform(0, 6))
    lobes += 0.03 * np.cos(angles * 9 + rng.uniform(0, 6))
    square = 1.0 - (x**2 + y**2) / (radius * lobes) ** 2
    return (np.clip(square, 0, 1) ** 0.55).astype(np.float32)


@lru_cache(maxsize=1)
def canopy() -> np.ndarray:
    """(TILE, TILE, 4) uint8 forest: normal x, normal y (128 is 0), depth, and each tree's own shade."""
    rng = np.random.default_rng(np.random.SeedSequence([7, 2]))
    height = np.full((TILE, TILE), -0.5, np.float32)
    shade = np.full((TILE, TILE), 0.3, np.float32)
    domes = [_dome(rng) for _ in range(96)]
    for _ in range(4200):
        dome = domes[rng.integers(len(domes))]
        start = rng.integers(0, TILE, 2)
        index = np.ix_(*((first + np.arange(len(dome))) % TILE for first in start))
        # crowns are about as tall as wide, and stand on ground of their own height
        top = np.float32(len(dome) * rng.uniform(0.24, 0.44) + rng.uniform(0, 6))
        raised, before = np.where(dome > 0, dome * top, np.float32(-1.0)), height[index]
        height[index] = np.maximum(raised, before)
        shade[index] = np.where(raised > before, np.float32(rng.random()), shade[index])
    leaves = fractal_noise(rng, TILE, (256, 256), 3, 0.9)
    height += 0.8 * fractal_noise(rng, TILE, (128, 128), 2, 0.8) + 1.05 * leaves
    wrapped = np.pad(height, 8, mode='wrap')
    normals = _normals(cv2.GaussianBlur(wrapped, (0, 0), 0.7))[8:-8, 8:-8]
    local = height - cv2.GaussianBlur(wrapped, (0, 0), 7.0)[8:-8, 8:-8]
    depth = np.clip(0.58 + 0.05 * local + 0.07 * leaves, 0.10, 1.0)
    packed = np.dstack([normals[..., 0] * 120 + 128, normals[..., 1] * 120 + 128, depth * 255, shade * 255])
    return np.clip(packed, 0, 255).astype(np.uint8)


def light_canopy(sample: np.ndarray, sun: np.ndarray, foliage: np.ndarray) -> np.ndarray:
    """Light a warped part of the canopy.

    Args:
        sample: (H, W, 4) uint8 cut from :func:`canopy`.
        sun: (3,) direction to the sun in the tile's frame.
        foliage: (2, 3) darkest and lightest colour.

    Returns:
        (H, W, 3) uint8 colours.
    """
    x, y, depth, shade = (plane.astype(np.float32) for plane in cv2.split(sample))
    x -= 128.0
    y -= 128.0
    upward = cv2.sqrt(np.maximum(1.0 - (x * x + y * y) * np.float32(1 / 120**2), 0.0))
    facing = np.maximum(x * np.float32(sun[0] / 120) + y * np.float32(sun[1] / 120) + upward * np.float32(sun[2]), 0.0)
    bright = (0.10 + 0.95 * facing) * depth * (0.0034 + 0.0000085 * shade)
    warm = bright * (shade - 128.0)
    change = (foliage[1] - foliage[0]) * 1.25
    tones = np.column_stack([change, np.array([14, 4, -6]) / 255, np.zeros(3), foliage[0]]).astype(np.float32)
    return cv2.convertScaleAbs(np.maximum(cv2.transform(cv2.merge([bright, warm, warm]), tones), 0.0))


def light_crowns(sun: np.ndarray, foliage: np.ndarray) -> np.ndarray:
    """Light the bank of crowns from a sun given in the image's frame.

    Returns:
        (N, S, S, 4) float32: colour times cover, and cover in [0, 1].
    """
    normals, depths, covers = _crowns()
    facing = np.clip(normals @ sun.astype(np.float32), 0.0, 1.0)
    bright = (0.14 + 0.92 * facing) * depths
    colour = foliage[0] + (foliage[1] - foliage[0]) * bright[..., None] * 1.15
    return np.concatenate([colour * covers[..., None], covers[..., None]], axis=3).astype(np.float32)


def draw_crown(image: np.ndarray, crown: np.ndarray, centre: np.ndarray, size: tuple[int, int], shade: float) -> None:
    """Lay a lit crown (S, S, 4) over ``image`` (H, W, 3) uint8, in place.

    Args:
        image: Canvas.
        crown: One entry of :func:`light_crowns`.
        centre: (2,) image point.
        size: Width and height in pixels.
        shade: Brightness factor.
    """
    width, height = size
    x, y = round(centre[0] - width / 2), round(centre[1] - height / 2)
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + width, image.shape[1]), min(y + height, image.shape[0])
    if x1 >= x2 or y1 >= y2:
        return
    way = cv2.INTER_AREA if width < _SIDE else cv2.INTER_LINEAR
    scaled = cv2.resize(crown, size, interpolation=way)[y1 - y : y2 - y, x1 - x : x2 - x]
    region = image[y1:y2, x1:x2]
    region[:] = region * (1.0 - scaled[..., 3:]) + scaled[..., :3] * np.float32(shade)

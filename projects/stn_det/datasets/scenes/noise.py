"""Tileable noise, made once per process from a fixed seed, so that every worker draws the same ground."""

from __future__ import annotations

import cv2
import numpy as np


def lattice_noise(rng: np.random.Generator, size: int, cells: tuple[int, int]) -> np.ndarray:
    """Smooth noise that wraps around.

    Args:
        rng: Source of random numbers.
        size: Side of the tile in pixels, a multiple of both cell counts.
        cells: Number of grid cells along y and x; unequal counts stretch the noise.

    Returns:
        (size, size) float32 of about zero mean and unit spread.
    """
    rows, columns = cells
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    if rows == size and columns == size:
        return grid
    step_y, step_x = size // rows, size // columns
    padded = np.pad(grid, 2, mode='wrap')
    large = cv2.resize(padded, ((columns + 4) * step_x, (rows + 4) * step_y), interpolation=cv2.INTER_CUBIC)
    return large[2 * step_y : 2 * step_y + size, 2 * step_x : 2 * step_x + size]


def fractal_noise(
    rng: np.random.Generator, size: int, cells: tuple[int, int], octaves: int, gain: float = 0.55
) -> np.ndarray:
    """Sum of ``octaves`` lattice noises, each twice as fine and ``gain`` times as strong; zero mean, unit spread."""
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        finer = tuple(min(count << octave, size) for count in cells)
        total += gain**octave * lattice_noise(rng, size, finer)
    total -= total.mean()
    return total / total.std()


def to_tile(*channels: np.ndarray) -> np.ndarray:
    """Stack channels of values around 0 (spread about 1) into uint8; 128 stands for 0 and 40 levels for 1."""
    return np.clip(np.dstack(channels) * 40.0 + 128.0, 0, 255).astype(np.uint8)

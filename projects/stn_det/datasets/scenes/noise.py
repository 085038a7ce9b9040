"""Tileable noise, made once per process from a fixed seed, so that every worker draws the same ground."""

from __future__ import annotations

import cv2
import numpy as np


def white_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size) float32 of zero mean and unit spread."""
    return rng.standard_normal((size, size), dtype=np.float32)


def fractal_noise(
    rng: np.random.Generator, size: int, cells: tuple[int, int], octaves: int, gain: float = 0.55
) -> np.ndarray:
    """Sum of ``octaves`` noises, each twice as fine and ``gain`` times as strong; zero mean, unit spread, wraps around.

    The sum is refined from octave to octave, so all but the last work on few pixels.
    """
    total = np.zeros(cells, np.float32)
    for octave in range(octaves):
        rows, columns = (min(count << octave, size) for count in cells)
        grid = rng.standard_normal((rows, columns), dtype=np.float32)
        total = _refine(total, rows, columns) + np.float32(gain**octave) * grid
    total = _refine(total, size, size)
    total -= total.mean()
    return total / total.std()


def _refine(grid: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Resize a grid that wraps around to multiples of its sides."""
    if grid.shape == (rows, columns):
        return grid
    step_y, step_x = rows // grid.shape[0], columns // grid.shape[1]
    padded = np.pad(grid, 2, mode='wrap')
    size = (padded.shape[1] * step_x, padded.shape[0] * step_y)
    large = cv2.resize(padded, size, interpolation=cv2.INTER_CUBIC)
    return large[2 * step_y : 2 * step_y + rows, 2 * step_x : 2 * step_x + columns]


def to_tile(*channels: np.ndarray) -> np.ndarray:
    """Stack channels of values around 0 (spread about 1) into uint8; 128 stands for 0 and 40 levels for 1."""
    return np.clip(np.dstack(channels) * 40.0 + 128.0, 0, 255).astype(np.uint8)

"""Ground textures as tileable tiles: colour mixture, fine detail, and unevenness for edges, stains and wear."""

from __future__ import annotations

from functools import cache

import numpy as np

from stn_det.datasets.scenes.noise import fractal_noise, to_tile, white_noise

TILE = 1024
"""Side of a tile in pixels."""

TILE_GSD = 0.2
"""Metres per pixel of a tile, so that it repeats after about 205 m."""


ISOTROPIC = frozenset({'asphalt', 'grass', 'soil', 'water', 'plain', 'canopy'})
"""Tiles without lines; they need not be turned with the ground."""


def _grid_lines(spacing: int, width: int) -> np.ndarray:
    """(TILE, TILE) float32 mask of the joints between slabs ``spacing`` pixels wide."""
    near = np.arange(TILE) % spacing < width
    return (near[:, None] | near[None, :]).astype(np.float32)


def _cracks(rng: np.random.Generator) -> np.ndarray:
    """(TILE, TILE) float32 mask of thin winding lines in a few places: cracks and tar seams."""
    winding = fractal_noise(rng, TILE, (16, 16), 4, 0.5)
    place = fractal_noise(rng, TILE, (8, 8), 2)
    return np.clip(1.0 - np.abs(winding) * 28.0, 0.0, 1.0) * np.clip(place - 0.7, 0.0, 1.0)


def _asphalt(rng: np.random.Generator) -> np.ndarray:
    mix = fractal_noise(rng, TILE, (8, 8), 6, 0.62)
    grain = white_noise(rng, TILE) * 0.5 + fractal_noise(rng, TILE, (256, 256), 2) * 0.45
    spots = -np.clip(fractal_noise(rng, TILE, (128, 128), 2) - 2.0, 0.0, 1.0) * 2.0
    return to_tile(mix, grain + spots - 2.6 * _cracks(rng))


def _concrete(rng: np.random.Generator) -> np.ndarray:
    slabs = rng.standard_normal((32, 32)).astype(np.float32).repeat(32, 0).repeat(32, 1)
    mix = 0.55 * slabs + 0.85 * fractal_noise(rng, TILE, (8, 8), 6, 0.65)
    grain = white_noise(rng, TILE) * 0.35 + fractal_noise(rng, TILE, (256, 256), 2) * 0.35
    broken = np.clip(1.1 + 0.5 * fractal_noise(rng, TILE, (32, 32), 2), 0.2, 1.6)
    return to_tile(mix, grain - 1.7 * _grid_lines(32, 1) * broken - 1.6 * _cracks(rng))


def _grass(rng: np.random.Generator) -> np.ndarray:
    mix = fractal_noise(rng, TILE, (8, 8), 7, 0.66)
    tufts = fractal_noise(rng, TILE, (128, 128), 3, 0.8)
    tufts = tufts - 0.5 * np.clip(tufts - 1.2, 0.0, None)
    return to_tile(mix, 0.9 * tufts + 0.4 * white_noise(rng, TILE))


def _soil(rng: np.random.Generator) -> np.ndarray:
    mix = fractal_noise(rng, TILE, (4, 4), 8, 0.68)
    tracks = fractal_noise(rng, TILE, (64, 8), 4, 0.6)
    grain = 0.6 * white_noise(rng, TILE) + 0.6 * fractal_noise(rng, TILE, (128, 128), 3, 0.7)
    return to_tile(mix, grain + 0.35 * tracks)


def _water(rng: np.random.Generator) -> np.ndarray:
    mix = fractal_noise(rng, TILE, (2, 4), 5, 0.6)
    swell = fractal_noise(rng, TILE, (32, 16), 3, 0.8)
    waves = 0.75 * fractal_noise(rng, TILE, (256, 64), 3, 0.85) + 0.5 * fractal_noise(rng, TILE, (128, 128), 3, 0.8)
    crests = np.clip(waves - 1.3, 0.0, None)
    return to_tile(mix, 0.35 * swell + 0.8 * waves + 0.9 * crests)


def _crop(rng: np.random.Generator, period: int, depth: float) -> np.ndarray:
    """Rows along x, ``period`` pixels apart, with tramlines every 64 pixels."""
    mix = fractal_noise(rng, TILE, (4, 8), 6, 0.6)
    drift = fractal_noise(rng, TILE, (8, 8), 2) * 0.4
    rows = np.arange(TILE, dtype=np.float32)[:, None] + drift
    furrows = np.sin(rows * (2 * np.pi / period)) * depth
    tramlines = ((np.arange(TILE) % 64 < 2) | ((np.arange(TILE) + 55) % 64 < 2)).astype(np.float32)[:, None]
    patches = fractal_noise(rng, TILE, (64, 64), 5, 0.85)
    return to_tile(mix, furrows * (1.0 + 0.35 * patches) + 0.55 * patches - 1.3 * tramlines)


def _mown(rng: np.random.Generator) -> np.ndarray:
    """Lawn mown in stripes."""
    stripes = np.sign(np.sin(np.arange(TILE, dtype=np.float32) * (2 * np.pi / 32)))[:, None]
    mix = fractal_noise(rng, TILE, (8, 8), 6, 0.6) + 0.45 * stripes
    return to_tile(mix, 0.8 * fractal_noise(rng, TILE, (256, 256), 3, 0.8))


def _plain(rng: np.random.Generator) -> np.ndarray:
    return to_tile(white_noise(rng, TILE), fractal_noise(rng, TILE, (16, 16), 6, 0.75))


_MAKERS = {
    'asphalt': _asphalt,
    'concrete': _concrete,
    'grass': _grass,
    'soil': _soil,
    'water': _water,
    'crop': lambda rng: _crop(rng, 8, 0.8),
    'plough': lambda rng: _crop(rng, 4, 0.9),
    'mown': _mown,
    'plain': _plain,
}


@cache
def tile(name: str) -> np.ndarray:
    """Return the tile ``name``: (1024, 1024, 3) uint8 of mixture, detail and unevenness, made on first use.

    Every tile has its own fixed seed, so the order in which tiles are first used changes nothing.
    """
    seed = np.random.SeedSequence([7, *name.encode()])
    made = _MAKERS[name](np.random.default_rng(seed))
    made = np.dstack([made, to_tile(fractal_noise(np.random.default_rng(seed), TILE, (16, 16), 6, 0.75))])
    made.setflags(write=False)
    return made

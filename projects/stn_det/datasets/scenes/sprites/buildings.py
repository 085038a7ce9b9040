"""Buildings: flat roofs with parapet and machines, pitched roofs, and ribbed sheet-metal halls."""

from __future__ import annotations

import numpy as np

from stn_det.datasets.scenes.shapes import Colour, Sprite, ellipse, rectangle, strip, tint

_FLAT: tuple[Colour, ...] = (
    (150, 149, 145),
    (118, 117, 114),
    (178, 176, 170),
    (92, 91, 90),
    (198, 197, 193),
    (136, 126, 116),
)
_TILES: tuple[Colour, ...] = (
    (122, 88, 74),
    (104, 98, 94),
    (134, 104, 88),
    (88, 86, 86),
    (142, 116, 96),
    (112, 106, 104),
)
_METAL: tuple[Colour, ...] = (
    (196, 199, 200),
    (170, 175, 178),
    (96, 120, 140),
    (142, 150, 148),
    (154, 110, 92),
    (204, 202, 194),
)


def _walls(sprite: Sprite, outline: np.ndarray, height: float, colour: Colour, light: np.ndarray) -> None:
    """Walls from the ground to ``height``; only an oblique view shows them."""
    for start, end in zip(outline, np.roll(outline, -1, axis=0)):
        along = end - start
        normal = np.array([along[1], -along[0]]) / (np.hypot(*along) or 1.0)
        facing = float(max(0.0, normal @ light[:2]))
        quad = np.array([start, end, end, start])
        sprite.add(quad, tint(colour, 0.55 + 0.5 * facing), 'wall', np.array([0.0, 0.0, height, height]))


def flat_building(rng: np.random.Generator, light: np.ndarray, length: float, width: float, height: float) -> Sprite:
    """A flat-roofed block with parapet, roof machines, skylights and ducts."""
    sprite = Sprite(None, length, width, height, tall=True)
    x, y = length / 2, width / 2
    roof = tint(_FLAT[rng.integers(len(_FLAT))], rng.uniform(0.92, 1.06))
    _walls(sprite, rectangle(-x, x, -y, y), height, tint(roof, 0.85), light)
    sprite.add(rectangle(-x, x, -y, y), tint(roof, 1.18), 'roof', height)
    sprite.add(rectangle(-x + 0.35, x - 0.35, -y + 0.35, y - 0.35), roof, 'roof', height)
    away = -light[:2] / max(light[2], 0.3)
    rim = rectangle(-x + 0.35, x - 0.35, -y + 0.35, y - 0.35)
    for side in range(4):
        start, end = rim[side], rim[(side + 1) % 4]
        centre = (start + end) / 2
        if centre @ away < 0:
            shade = np.array([start, end, end + away * 0.7, start + away * 0.7])
            sprite.add(np.clip(shade, (-x + 0.35, -y + 0.35), (x - 0.35, y - 0.35)), tint(roof, 0.6), 'roof', height)
    if length > 24 and rng.random() < 0.6:
        cut = rng.uniform(-0.3, 0.3) * length
        sprite.add(rectangle(-x + 0.5, cut, -y + 0.5, y - 0.5), tint(roof, rng.uniform(0.86, 1.12)), 'roof', height)
    _roof_machines(sprite, rng, x, y, roof, away, height)
    sprite.cast(rectangle(-x, x, -y, y), 0.0, height)
    return sprite


def _roof_machines(
    sprite: Sprite, rng: np.random.Generator, x: float, y: float, roof: Colour, away: np.ndarray, height: float
) -> None:
    """Air-conditioning boxes (car-like), skylights and round fans (tank-like) on a roof."""
    count = int(min(9, 1 + 4 * x * y / 120 * rng.uniform(0.5, 1.5)))
    for _ in range(count):
        size = rng.uniform(0.7, 1.7, 2) * (1.0, 0.7)
        if x < size[0] + 1 or y < size[1] + 1:
            return
        cx, cy = rng.uniform(-x + size[0] + 1, x - size[0] - 1), rng.uniform(-y + size[1] + 1, y - size[1] - 1)
        unit = rectangle(cx - size[0], cx + size[0], cy - size[1], cy + size[1])
        if rng.random() < 0.3:
            sprite.add(unit, (92, 100, 106) if rng.random() < 0.5 else (206, 210, 210), 'glass', height)
            continue
        sprite.add(unit + away * 0.8, tint(roof, 0.55), 'roof', height)
        tone = tint((176, 178, 178), rng.uniform(0.75, 1.15))
        sprite.add(unit, tint(tone, 0.8), 'metal', height)
        sprite.add(rectangle(cx - size[0] + 0.15, cx + size[0] - 0.15, cy - size[1] + 0.15, cy + size[1] - 0.15), tone,
                   'metal', height)  # fmt: skip
        sprite.add(ellipse(cx, cy, size[1] * 0.55, size[1] * 0.55, 10), tint(tone, 0.5), 'hot', height)


def house(rng: np.random.Generator, light: np.ndarray, length: float, width: float) -> Sprite:
    """A house with a gabled or hipped tiled roof; the ridge runs along x."""
    height = rng.uniform(4.0, 6.5)
    sprite = Sprite(None, length, width, height, tall=True)
    x, y = length / 2, width / 2
    tiles = tint(_TILES[rng.integers(len(_TILES))], rng.uniform(0.88, 1.1))
    _walls(sprite, rectangle(-x, x, -y, y), height * 0.6, (190, 182, 168), light)
    hip = min(y, x * 0.8) * (1.0 if rng.random() < 0.6 else 0.0)
    ridge = np.array([[x - hip, 0.0], [-x + hip, 0.0]])
    low, high = height * 0.6, height
    pitch = 0.75
    faces = (
        (np.array([[x, -y], ridge[0], ridge[1], [-x, -y]]), np.array([low, high, high, low]), (0.0, -pitch)),
        (np.array([[x, y], ridge[0], ridge[1], [-x, y]]), np.array([low, high, high, low]), (0.0, pitch)),
        (np.array([[x, -y], [x, y], ridge[0]]), np.array([low, low, high]), (pitch, 0.0)),
        (np.array([[-x, -y], [-x, y], ridge[1]]), np.array([low, low, high]), (-pitch, 0.0)),
    )
    for outline, heights, slope in faces:
        facing = (light[2] + slope[0] * light[0] + slope[1] * light[1]) / np.hypot(1.0, pitch)
        sprite.add(outline, tint(tiles, 0.42 + 0.72 * float(max(0.0, facing))), 'roof', heights)
    sprite.add(strip(ridge[0], ridge[1], 0.3), tint(tiles, 1.18), 'roof', high)
    if rng.random() < 0.6:
        cx = rng.uniform(-0.5, 0.5) * x
        away = -light[:2] / max(light[2], 0.3) * 1.2
        stack = rectangle(cx - 0.4, cx + 0.4, 0.2 * y, 0.2 * y + 0.8)
        sprite.add(stack + away, tint(tiles, 0.45), 'roof', high)
        sprite.add(stack, (126, 92, 80), 'roof', high)
    if rng.random() < 0.25:
        panel = rectangle(-0.5 * x, 0.2 * x, 0.2 * y, 0.75 * y)
        sprite.add(panel, (34, 42, 62), 'glass', low + 0.5 * (high - low))
    sprite.cast(rectangle(-x, x, -y, y), 0.0, low)
    sprite.cast(np.array([ridge[0], ridge[1] + (0, 0.01), ridge[1]]), 0.0, high)
    return sprite


def hall(rng: np.random.Generator, light: np.ndarray, length: float, width: float, height: float) -> Sprite:
    """An industrial hall or hangar with a ribbed sheet-metal roof of two slopes."""
    sprite = Sprite(None, length, width, height, tall=True)
    x, y = length / 2, width / 2
    sheet = tint(_METAL[rng.integers(len(_METAL))], rng.uniform(0.9, 1.06))
    _walls(sprite, rectangle(-x, x, -y, y), height, tint(sheet, 0.9), light)
    slope = rng.uniform(0.08, 0.25)
    for side in (-1, 1):
        facing = (light[2] + side * slope * light[1]) / np.hypot(1.0, slope)
        tone = tint(sheet, 0.55 + 0.5 * float(max(0.0, facing)))
        sprite.add(rectangle(-x, x, *sorted((0.0, side * y))), tone, 'roof', height)
        for position in np.arange(-x + 1.0, x - 0.5, 2.0 if length < 50 else 3.0):
            factor = rng.uniform(0.93, 0.98)
            sprite.add(
                rectangle(position - 0.16, position + 0.16, *sorted((0.0, side * y))),
                tint(tone, factor),
                'roof',
                height,
            )
        if rng.random() < 0.5:
            for position in np.arange(-x + 4, x - 4, rng.uniform(5, 9)):
                light_y = sorted((side * y * 0.3, side * y * 0.7))
                sprite.add(rectangle(position, position + 1.1, *light_y), tint(tone, 1.2), 'glass', height)
    sprite.add(strip((-x, 0), (x, 0), 0.5), tint(sheet, 0.86), 'roof', height)
    for _ in range(int(rng.integers(0, 5))):
        cx, cy = rng.uniform(-0.85, 0.85) * x, rng.uniform(-0.7, 0.7) * y
        sprite.add(ellipse(cx - light[0] * 0.9, cy - light[1] * 0.9, 0.6, 0.6, 10), tint(sheet, 0.5), 'roof', height)
        sprite.add(ellipse(cx, cy, 0.6, 0.6, 10), tint(sheet, 1.08), 'metal', height)
    sprite.cast(rectangle(-x, x, -y, y), 0.0, height)
    return sprite

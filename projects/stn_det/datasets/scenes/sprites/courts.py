"""Tennis courts. The labelled body is the rectangle inside the outer lines; the surround is ground."""

from __future__ import annotations

import numpy as np

from stn_det.datasets.scenes.shapes import Colour, Sprite, rectangle, strip, tint

LENGTH, WIDTH = 23.77, 10.97
"""Size of a doubles court in metres."""

SURFACES: tuple[tuple[Colour, Colour], ...] = (
    ((72, 98, 122), (80, 104, 88)),
    ((66, 90, 118), (66, 90, 118)),
    ((80, 112, 88), (128, 88, 76)),
    ((78, 108, 86), (88, 118, 94)),
    ((152, 106, 84), (144, 100, 80)),
    ((84, 92, 122), (92, 116, 100)),
    ((96, 112, 100), (104, 116, 106)),
)
"""Colours of playing area and surround."""


def court(rng: np.random.Generator, light: np.ndarray, scale: float, surface: tuple[Colour, Colour]) -> Sprite:
    """A court with lines and net; ``light`` is the sun in its frame."""
    length, width = LENGTH * scale, WIDTH * scale
    sprite = Sprite('tennis-court', length, width, 1.0)
    x, y = length / 2, width / 2
    field = surface[0]
    sprite.add(rectangle(-x, x, -y, y), field, 'court')
    for x1 in (-0.5, 0.0):
        tone = tint(field, rng.uniform(0.95, 1.05))
        sprite.add(rectangle(x1 * length + 0.6, (x1 + 0.5) * length - 0.6, -y * 0.7, y * 0.7), tone, 'court')
    white = tint((228, 228, 222), rng.uniform(0.86, 1.0))
    line = 0.13
    single = y * 8.23 / 10.97
    service = 6.40 * scale
    for side in (-1, 1):
        sprite.add(strip((-x, side * (y - line / 2)), (x, side * (y - line / 2)), line), white, 'line')
        sprite.add(strip((side * (x - line / 2), -y), (side * (x - line / 2), y), line), white, 'line')
        sprite.add(strip((-x, side * single), (x, side * single), line), white, 'line')
        sprite.add(strip((side * service, -single), (side * service, single), line), white, 'line')
    sprite.add(strip((-service, 0), (service, 0), line), white, 'line')
    net = strip((0.0, -y), (0.0, y), 0.14)
    shade = -light[:2] / max(light[2], 0.25) * 0.95
    shadow = np.array([[0.0, -y], [0.0, y], [shade[0], y], [shade[0], -y]])
    sprite.add(shadow, tint(field, 0.62), 'court')
    sprite.add(net, (46, 50, 50), 'court')
    sprite.add(strip((0.0, -y), (0.0, y), 0.07), (206, 206, 204), 'line')
    return sprite

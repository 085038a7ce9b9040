"""Storage tanks: upright cylinders with cone, dome or floating roofs."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from stn_det.datasets.scenes.shapes import Colour, Sprite, blend, ellipse, strip, tint

_COLOURS: tuple[Colour, ...] = (
    (212, 213, 210),
    (204, 205, 201),
    (190, 192, 190),
    (178, 180, 178),
    (206, 198, 180),
    (148, 132, 116),
    (120, 140, 132),
)


def _cone(sprite: Sprite, radius: float, colour: Colour, light: np.ndarray, slope: float, sectors: int = 24) -> None:
    """Cone roof: each sector as bright as its slope faces the sun."""
    edge = ellipse(0, 0, radius, radius, sectors)
    for index in range(sectors):
        angle = 2 * math.pi * (index + 0.5) / sectors
        facing = light[2] + slope * (math.cos(angle) * light[0] + math.sin(angle) * light[1])
        tone = tint(colour, 0.62 + 0.42 * facing / max(light[2], 0.45))
        sprite.add(np.array([edge[index], edge[(index + 1) % sectors], [0.0, 0.0]]), tone, 'tank')


def _floating(sprite: Sprite, radius: float, colour: Colour, light: np.ndarray, depth: float) -> None:
    """Floating roof ``depth`` below the rim, which throws a crescent of shadow on it."""
    sprite.add(ellipse(0, 0, radius * 0.955, radius * 0.955, 36), (58, 59, 62), 'tank')
    away = -light[:2] / max(light[2], 0.2) * depth
    reach = float(np.hypot(*away))
    if reach > radius * 0.9:
        away = away * (radius * 0.9 / reach)
    angles = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    rim = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius * 0.95
    # The lit part of the floor is where the rim's disc and the disc moved along the shadow overlap.
    moved = rim + away
    outside = np.hypot(moved[:, 0], moved[:, 1]) > radius * 0.95
    moved[outside] *= (radius * 0.95 / np.hypot(moved[outside, 0], moved[outside, 1]))[:, None]
    sprite.add(moved, colour, 'tank')
    sprite.add(ellipse(away[0] * 0.3, away[1] * 0.3, radius * 0.10, radius * 0.10, 12), tint(colour, 0.86), 'tank')


def tank(rng: np.random.Generator, light: np.ndarray, scale: float = 1.0, radius: float = 8.0) -> Sprite:
    """A storage tank of the given radius in metres; ``light`` is the sun in its frame."""
    radius = radius * scale
    colour = tint(
        _COLOURS[rng.choice(len(_COLOURS), p=[0.3, 0.2, 0.16, 0.1, 0.1, 0.07, 0.07])], rng.uniform(0.92, 1.04)
    )
    height = float(np.clip(radius * rng.uniform(0.7, 1.4), 4.0, 16.0))
    sprite = Sprite('storage-tank', 2 * radius, 2 * radius, height, tall=True)
    outline = ellipse(0, 0, radius, radius, 48)
    sprite.add(outline, tint(colour, 0.6), 'tank')
    sprite.add(ellipse(0, 0, radius - 0.12, radius - 0.12, 48), tint(colour, 1.06), 'tank')
    roof = radius - max(0.3, radius * 0.035)
    if radius > 6 and rng.random() < 0.35:
        _floating(sprite, radius, tint(colour, 0.88), light, height * rng.uniform(0.2, 0.6))
    else:
        _cone(sprite, roof, blend(colour, (190, 186, 178), 0.12), light, rng.uniform(0.12, 0.34))
        sprite.add(ellipse(0, 0, max(0.4, radius * 0.06), max(0.4, radius * 0.06), 10), tint(colour, 0.7), 'tank')
        angle = rng.uniform(0, 2 * math.pi)
        tip = np.array([math.cos(angle), math.sin(angle)])
        sprite.add(strip(tip * roof * 0.08, tip * roof * 0.96, 0.32), tint(colour, 0.66), 'tank')
        if radius > 7:
            for turn in rng.uniform(0, 2 * math.pi, 3):
                sprite.add(
                    ellipse(*(np.array([math.cos(turn), math.sin(turn)]) * roof * 0.8), 0.4, 0.4, 8),
                    tint(colour, 0.6),
                    'tank',
                )
    start = rng.uniform(0, 2 * math.pi)
    turns = start + np.linspace(0.0, 0.9, 7)
    stair = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    for one, two in pairwise(stair):
        sprite.add(strip(one * (radius - 0.25), two * (radius - 0.25), 0.4), (108, 108, 106), 'tank')
    sprite.cast(outline[::2], 0.0, height)
    return sprite

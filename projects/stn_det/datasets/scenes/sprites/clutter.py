"""Unlabelled things, many of which resemble a labelled class at a glance."""

from __future__ import annotations

import numpy as np

from stn_det.datasets.scenes.shapes import Colour, Sprite, blend, ellipse, rectangle, rounded, strip, tint

_CONTAINERS: tuple[Colour, ...] = (
    (124, 62, 50),
    (56, 78, 112),
    (78, 104, 86),
    (168, 168, 164),
    (158, 118, 64),
    (96, 98, 102),
    (138, 76, 62),
    (110, 60, 54),
)


def _roofed(length: float, width: float, height: float, colour: Colour, material: str, tall: bool = False) -> Sprite:
    """A box with a darker edge that throws a shadow."""
    sprite = Sprite(None, length, width, height, tall)
    x, y = length / 2, width / 2
    top = height if tall else 0.0
    sprite.add(rectangle(-x, x, -y, y), tint(colour, 0.76), material, top)
    sprite.add(rectangle(-x + 0.1, x - 0.1, -y + 0.1, y - 0.1), colour, material, top)
    sprite.cast(rectangle(-x, x, -y, y), 0.0, height)
    return sprite


def container(rng: np.random.Generator, light: np.ndarray, long: bool) -> Sprite:
    """A freight container (resembles a trailer)."""
    length = 12.19 if long else 6.06
    colour = tint(_CONTAINERS[rng.integers(len(_CONTAINERS))], rng.uniform(0.82, 1.1))
    sprite = _roofed(length, 2.44, 2.6 * (1 + (rng.random() < 0.3)), colour, 'metal')
    for x in np.linspace(-length / 2, length / 2, 14 if long else 7)[1:-1]:
        sprite.add(rectangle(x - 0.08, x + 0.08, -1.1, 1.1), tint(colour, 0.9), 'metal')
    return sprite


def dumpster(rng: np.random.Generator, light: np.ndarray) -> Sprite:
    """A waste skip (resembles a small car)."""
    colour: Colour = tuple(rng.choice([(62, 84, 66), (58, 74, 96), (104, 70, 56), (96, 98, 96)]).tolist())
    sprite = _roofed(rng.uniform(2.4, 3.8), rng.uniform(1.5, 1.9), 1.5, colour, 'metal')
    x, y = sprite.length / 2 - 0.25, sprite.width / 2 - 0.25
    sprite.add(rectangle(-x, x * rng.uniform(-0.2, 1.0), -y, y), tint(colour, 0.4), 'metal')
    return sprite


def shed(rng: np.random.Generator, light: np.ndarray) -> Sprite:
    """A garden shed or cabin with two roof slopes (resembles a van)."""
    length, width = rng.uniform(3.0, 5.5), rng.uniform(2.2, 3.2)
    colour: Colour = tuple(rng.choice([(126, 112, 96), (108, 110, 112), (148, 140, 128), (104, 84, 70)]).tolist())
    sprite = _roofed(length, width, 2.5, colour, 'roof')
    for side in (-1, 1):
        tone = tint(colour, 0.72 + 0.5 * max(0.0, light[2] * 0.8 + side * light[1] * 0.5))
        sprite.add(rectangle(-length / 2, length / 2, *sorted((0, side * width / 2))), tone, 'roof')
    return sprite


def pond(rng: np.random.Generator, light: np.ndarray, radius: float) -> Sprite:
    """A round fountain or settling basin (resembles a storage tank)."""
    sprite = Sprite(None, 2 * radius, 2 * radius, 0.5)
    sprite.add(ellipse(0, 0, radius, radius, 36), (172, 168, 158), 'concrete')
    water: Colour = tuple(rng.choice([(66, 92, 92), (52, 70, 72), (88, 126, 132), (74, 84, 66)]).tolist())
    inner = radius - max(0.4, radius * 0.07)
    sprite.add(ellipse(0, 0, inner, inner, 36), tint(water, 0.82), 'water')
    sprite.add(
        ellipse(-light[0] * 0.05 * radius, -light[1] * 0.05 * radius, inner * 0.93, inner * 0.93, 30), water, 'water'
    )
    if rng.random() < 0.5:
        sprite.add(strip((-inner, 0), (inner, 0), 0.5), (148, 146, 140), 'metal')
        sprite.add(ellipse(0, 0, 0.16 * radius, 0.16 * radius, 14), (152, 150, 144), 'concrete')
    else:
        sprite.add(ellipse(0, 0, 0.25 * radius, 0.25 * radius, 14), blend(water, (230, 234, 234), 0.6), 'water')
    return sprite


def pool(rng: np.random.Generator, light: np.ndarray) -> Sprite:
    """A swimming pool with its terrace (resembles a court or a boat)."""
    length, width = rng.uniform(6.5, 11.0), rng.uniform(3.4, 5.0)
    x, y = length / 2, width / 2
    sprite = Sprite(None, length + 3, width + 3, 0.2)
    sprite.add(
        rectangle(-x - 1.5, x + 1.5, -y - 1.2, y + 1.8), tint((188, 178, 162), rng.uniform(0.85, 1.05)), 'concrete'
    )
    radius = rng.uniform(0.2, 0.48) * width
    sprite.add(rounded(-x, x, -y, y, radius, radius), (206, 208, 202), 'concrete')
    water: Colour = (84, 158, 178) if rng.random() < 0.8 else (66, 112, 112)
    sprite.add(rounded(-x + 0.3, x - 0.3, -y + 0.3, y - 0.3, radius * 0.9, radius * 0.9), water, 'water')
    sprite.add(rounded(-x + 0.3, 0.0, -y + 0.3, y - 0.3, 0.1, radius * 0.9), tint(water, 0.9), 'water')
    for _ in range(int(rng.integers(0, 4))):
        at = rng.uniform(-x, x)
        sprite.add(rectangle(at, at + 0.7, y + 0.5, y + 1.6), (228, 228, 224), 'plastic')
    return sprite


def painted_box(rng: np.random.Generator, light: np.ndarray) -> Sprite:
    """A rectangle painted on the ground (resembles a truck or a court)."""
    length, width = rng.uniform(4.0, 14.0), rng.uniform(1.8, 5.0)
    tone: Colour = tuple(rng.choice([(196, 192, 182), (182, 156, 80), (124, 126, 124), (142, 82, 70)]).tolist())
    sprite = Sprite(None, length, width, 0.0)
    x, y = length / 2, width / 2
    for one, two in (((-x, -y), (x, -y)), ((x, -y), (x, y)), ((x, y), (-x, y)), ((-x, y), (-x, -y))):
        sprite.add(strip(one, two, 0.18), tone, 'line')
    if rng.random() < 0.5:
        for at in np.arange(-x + 0.8, x - y, 1.2):
            sprite.add(strip((at, -y), (at + width * 0.6, y), 0.2), tint(tone, 0.9), 'line')
    return sprite


def pallets(rng: np.random.Generator, light: np.ndarray) -> Sprite:
    """A stack of goods in a yard."""
    sprite = Sprite(None, 5.0, 3.6, 1.4)
    for _ in range(int(rng.integers(3, 9))):
        x, y = rng.uniform(-2.0, 2.0), rng.uniform(-1.3, 1.3)
        colour: Colour = tuple(rng.choice([(156, 128, 92), (172, 168, 158), (112, 92, 70), (88, 108, 124)]).tolist())
        size = rng.uniform(0.45, 0.8, 2)
        unit = rectangle(x - size[0], x + size[0], y - size[1], y + size[1])
        sprite.add(unit, tint(colour, rng.uniform(0.8, 1.1)), 'wood')
        sprite.cast(unit, 0.0, rng.uniform(0.6, 1.8))
    return sprite


def lamp_post(rng: np.random.Generator, light: np.ndarray) -> Sprite:
    """A lamp post: hardly visible itself, but its thin shadow is."""
    sprite = Sprite(None, 0.5, 0.5, 9.0)
    sprite.add(strip((0, 0), (1.8, 0), 0.16), (150, 150, 148), 'metal')
    sprite.add(ellipse(0, 0, 0.25, 0.25, 8), (96, 96, 94), 'metal')
    sprite.cast(ellipse(0, 0, 0.10, 0.10, 6), 0.0, 9.0)
    sprite.cast(strip((0, 0), (1.8, 0), 0.16), 8.8, 9.0)
    return sprite


def crane(rng: np.random.Generator, light: np.ndarray) -> Sprite:
    """A quay crane: gantry legs and a long boom across the berth."""
    colour: Colour = tuple(rng.choice([(176, 140, 60), (96, 112, 140), (168, 84, 60), (186, 186, 182)]).tolist())
    sprite = Sprite(None, 34.0, 12.0, 22.0)
    for y in (-4.5, 4.5):
        sprite.add(strip((-9, y), (9, y), 1.0), tint(colour, 0.8), 'metal')
        sprite.cast(strip((-9, y), (9, y), 1.0), 6.0, 7.0)
    for x in (-8.5, 8.5):
        sprite.add(strip((x, -4.5), (x, 4.5), 0.8), tint(colour, 0.9), 'metal')
        sprite.cast(strip((x, -4.5), (x, 4.5), 0.8), 13.0, 14.0)
    for y in (-1.1, 1.1):
        sprite.add(strip((-14, y), (20, y), 0.5), colour, 'metal')
        sprite.cast(strip((-14, y), (20, y), 0.6), 15.0, 16.0)
    for x in np.arange(-13.0, 20.0, 2.6):
        sprite.add(strip((x, -1.1), (x + 1.3, 1.1), 0.2), tint(colour, 0.9), 'metal')
    sprite.add(rectangle(-10, -5, -2.2, 2.2), (196, 196, 192), 'metal')
    sprite.cast(rectangle(-10, -5, -2.2, 2.2), 15.0, 18.0)
    return sprite

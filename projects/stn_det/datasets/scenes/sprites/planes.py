"""Aeroplanes, from light aircraft to wide-bodied airliners."""

from __future__ import annotations

import numpy as np

from stn_det.datasets.scenes.shapes import Colour, Sprite, ellipse, mirrored, rectangle, strip, tint

_SKINS: tuple[Colour, ...] = ((214, 216, 217), (204, 207, 210), (184, 189, 194), (160, 166, 172), (208, 204, 194))
_STRIPES: tuple[Colour, ...] = (
    (38, 60, 112),
    (140, 36, 40),
    (40, 92, 120),
    (206, 128, 40),
    (52, 56, 62),
    (60, 104, 70),
)


def _fuselage(length: float, half: float) -> np.ndarray:
    """Body outline: rounded nose at +length/2, drawn-out tail at -length/2."""
    x = np.array([1.0, 0.985, 0.95, 0.90, 0.84, 0.2, -0.35, -0.62, -0.82, -0.95, -1.0]) * length / 2
    y = np.array([0.10, 0.36, 0.62, 0.83, 0.97, 1.0, 1.0, 0.80, 0.45, 0.20, 0.12]) * half
    right = np.stack([x, y], axis=1)
    return np.concatenate([right, mirrored(right)[::-1]])


def _both(sprite: Sprite, points: np.ndarray, colour: Colour, light: np.ndarray, material: str = 'metal') -> None:
    """Add an outline on the right and its mirror image on the left, the side towards the sun a little lighter."""
    lean = 0.05 * float(np.clip(light[1] * 2, -1, 1))
    sprite.add(points, tint(colour, 1.0 + lean), material)
    sprite.add(mirrored(points), tint(colour, 1.0 - lean), material)


def _wing(
    root_front: float, root_back: float, tip_front: float, tip_back: float, half: float, root: float
) -> np.ndarray:
    """Right wing (5, 2) from the body at y = ``root`` to the tip at y = ``half``."""
    return np.array(
        [
            [root_front, root],
            [tip_front, half * 0.985],
            [(tip_front + tip_back) / 2 - 0.1, half],
            [tip_back, half * 0.99],
            [root_back, root],
        ]
    )


def _finish(sprite: Sprite, length: float, half: float, skin: Colour, light: np.ndarray, trim: Colour) -> None:
    """Draw body, shading, windows and fin above the wings."""
    body = _fuselage(length, half)
    sprite.add(body, tint(skin, 0.74), 'metal')
    shift = 0.22 * half * float(np.clip(light[1] * 1.6, -1, 1))
    sprite.add(body * (0.99, 0.78) + (0, shift), tint(skin, 0.93), 'metal')
    sprite.add(body * (0.96, 0.42) + (0, shift * 1.5), tint(skin, 1.10), 'metal')
    nose = length / 2
    sprite.add(
        np.array(
            [
                [nose * 0.955, -half * 0.34],
                [nose * 0.955, half * 0.34],
                [nose * 0.925, half * 0.55],
                [nose * 0.925, -half * 0.55],
            ]
        ),
        (36, 40, 48),
        'glass',
    )
    fin = strip((-length * 0.5, 0.0), (-length * 0.33, 0.0), max(0.22, half * 0.16))
    sprite.add(fin, trim, 'metal')
    sprite.cast(body[::2], half * 0.5, half * 2.2)
    sprite.cast(fin, half * 2.0, half * 5.0)


def jet(rng: np.random.Generator, light: np.ndarray, scale: float, length: float) -> Sprite:
    """A swept-wing jet of the given length: airliner, or business jet with engines at the tail."""
    small = length < 24
    skin, trim = _SKINS[rng.integers(len(_SKINS))], _STRIPES[rng.integers(len(_STRIPES))]
    length = length * scale
    half_span = length * rng.uniform(0.44, 0.52)
    half = length * (0.052 if small else rng.uniform(0.049, 0.056))
    sprite = Sprite('plane', length, 2 * half_span, half * 5)
    wing_x = length * (0.06 if small else 0.12)
    sweep = half_span * rng.uniform(0.50, 0.62)
    wing = _wing(wing_x, wing_x - length * 0.21, wing_x - sweep, wing_x - sweep - length * 0.045, half_span, half * 0.3)
    tone = tint(skin, 0.86)
    _both(sprite, wing, tone, light)
    flap = np.array(
        [
            wing[4],
            wing[3] * 0.7 + wing[4] * 0.3,
            wing[3] * 0.7 + wing[4] * 0.3 + (0.035 * length, 0),
            wing[4] + (0.04 * length, 0),
        ]
    )
    _both(sprite, flap, tint(tone, 0.88), light)
    edge = np.array([wing[0], wing[1], wing[1] - (0.012 * length, 0), wing[0] - (0.016 * length, 0)])
    _both(sprite, edge, tint(skin, 1.04), light)
    tail = -length / 2
    elevator = _wing(
        tail + length * 0.13, tail + length * 0.035, tail + length * 0.045, tail, half_span * 0.38, half * 0.1
    )
    _both(sprite, elevator, tint(skin, 0.9), light)
    stations = [] if small else [0.34] if rng.random() < 0.8 else [0.30, 0.56]
    for share in stations:
        y = half_span * share
        x = wing_x - sweep * share + length * 0.015
        _both(sprite, ellipse(x, y, length * 0.042, length * 0.021, 12), tint(skin, 0.66), light, 'hot')
        _both(sprite, ellipse(x + length * 0.008, y, length * 0.032, length * 0.015, 12), tint(skin, 1.0), light, 'hot')
        _both(sprite, ellipse(x + length * 0.038, y, length * 0.006, length * 0.014, 8), (52, 54, 58), light, 'hot')
        sprite.cast(ellipse(x, y, length * 0.042, length * 0.021, 8), half, half * 1.5)
        sprite.cast(ellipse(x, -y, length * 0.042, length * 0.021, 8), half, half * 1.5)
    for outline in (wing, mirrored(wing)):
        sprite.cast(outline, half * 1.0, half * 1.4)
    for outline in (elevator, mirrored(elevator)):
        sprite.cast(outline, half * 1.8, half * 2.2)
    _finish(sprite, length, half, skin, light, trim)
    if small:
        _both(
            sprite, ellipse(-length * 0.26, half * 1.35, length * 0.06, half * 0.42, 12), tint(skin, 0.8), light, 'hot'
        )
    return sprite


def propeller(rng: np.random.Generator, light: np.ndarray, scale: float, length: float) -> Sprite:
    """A straight-wing aircraft: one engine in the nose, or two on the wing when longer than 10 m."""
    twin = length > 10
    skin, trim = _SKINS[rng.integers(3)], _STRIPES[rng.integers(len(_STRIPES))]
    length = length * scale
    half_span = length * rng.uniform(0.60, 0.68)
    half = length * 0.068
    sprite = Sprite('plane', length, 2 * half_span, half * 4)
    x = length * 0.14
    chord = length * rng.uniform(0.17, 0.21)
    wing = _wing(x + chord / 2, x - chord / 2, x + chord * 0.30, x - chord * 0.45, half_span, 0.0)
    tail = -length / 2
    elevator = _wing(tail + length * 0.13, tail + length * 0.01, tail + length * 0.10, tail, half_span * 0.34, 0.0)
    _both(sprite, elevator, tint(skin, 0.94), light)
    body = _fuselage(length, half)
    if not twin:
        _both(sprite, wing, tint(skin, 0.95), light)
    else:
        _both(sprite, wing, tint(skin, 0.9), light)
        for side in (1, -1):
            centre = (x + chord * 0.35, side * half_span * 0.36)
            sprite.add(ellipse(*centre, length * 0.10, half * 0.62, 12), tint(skin, 0.78), 'hot')
            sprite.add(
                rectangle(centre[0] + length * 0.10, centre[0] + length * 0.11, centre[1] - 1.0, centre[1] + 1.0),
                (70, 72, 74),
                'metal',
            )
    _finish(sprite, length, half, skin, light, trim)
    if not twin:
        if rng.random() < 0.6:
            _both(sprite, wing, tint(skin, 1.0), light)
            stripe = np.array([wing[1], wing[3], wing[3] * 0.86 + wing[4] * 0.14, wing[1] * 0.86 + wing[0] * 0.14])
            _both(sprite, stripe, trim, light)
        nose = length / 2
        sprite.add(rectangle(nose - 0.22, nose - 0.08, -half_span * 0.17, half_span * 0.17), (62, 62, 64), 'metal')
        sprite.add(body[[0, 2, 4, -5, -3, -1]] * (1, 0.6), trim, 'hot')
    for outline in (wing, mirrored(wing)):
        sprite.cast(outline, half * 2.2, half * 2.5)
    for outline in (elevator, mirrored(elevator)):
        sprite.cast(outline, half * 1.6, half * 2.0)
    return sprite


def plane(rng: np.random.Generator, light: np.ndarray, scale: float = 1.0, size: str = 'any') -> Sprite:
    """An aeroplane; ``size`` is 'light', 'business', 'airliner' or 'any'. ``light`` is the sun in its frame."""
    if size == 'any':
        size = str(rng.choice(['light', 'business', 'airliner'], p=[0.4, 0.3, 0.3]))
    if size == 'light':
        return propeller(rng, light, scale, rng.uniform(7.2, 9.5) if rng.random() < 0.7 else rng.uniform(10.2, 14.0))
    return jet(rng, light, scale, rng.uniform(13.0, 21.0) if size == 'business' else rng.uniform(30.0, 42.0))

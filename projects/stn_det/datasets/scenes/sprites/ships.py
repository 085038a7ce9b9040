"""Boats and ships."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from stn_det.datasets.scenes.shapes import Colour, Sprite, blend, ellipse, rectangle, rounded, strip, tint

_HULLS: tuple[Colour, ...] = ((226, 227, 225), (44, 50, 60), (122, 46, 40), (38, 60, 92), (66, 70, 72), (150, 154, 156))
_BOXES: tuple[Colour, ...] = (
    (126, 58, 46),
    (52, 76, 116),
    (74, 104, 84),
    (178, 178, 174),
    (164, 120, 58),
    (92, 94, 98),
    (140, 72, 60),
    (60, 92, 112),
)


def hull(length: float, half: float, bluntness: float, stern: float) -> np.ndarray:
    """Outline with the bow at +length/2; ``bluntness`` in [0, 1] from sharp to barge, ``stern`` its relative width."""
    return _unit_hull(bluntness, stern) * (length / 2, half)


@lru_cache(maxsize=32)
def _unit_hull(bluntness: float, stern: float) -> np.ndarray:
    """The outline inside [-1, 1] x [-1, 1]."""
    start = 0.25 + 0.5 * bluntness
    t = np.linspace(0.0, 1.0, 7)
    x = 1.0 - (1.0 - start) * t**1.3
    power = 0.95 - 0.45 * bluntness
    y = np.clip(0.035 + 0.965 * t**power, 0, 1)
    back = np.array([[-0.55, 1.0], [-0.94, stern], [-1.0, stern * 0.9]])
    right = np.concatenate([np.stack([x, y], axis=1), back])
    return np.concatenate([right, (right * (1, -1))[::-1]])


def _layers(
    sprite: Sprite, outline: np.ndarray, rim: Colour, deck: Colour, inset: float, length: float, half: float
) -> None:
    sprite.add(outline, rim, 'ship')
    inner = outline * (1.0 - 2 * inset / length, 1.0 - inset / half)
    sprite.add(inner, deck, 'deck')


def _tower(sprite: Sprite, x1: float, x2: float, half: float, colour: Colour, light: np.ndarray, height: float) -> None:
    """Superstructure: a block with a dark window band and a lighter roof; shadow on the deck on its far side."""
    shade = -light[:2] * min(height, 8.0) * 0.45
    block = rectangle(x1, x2, -half, half)
    edge = np.array([sprite.length, sprite.width]) * 0.47
    sprite.add(np.clip(block + shade * 0.5, -edge, edge), (48, 50, 52), 'deck')
    sprite.add(block, tint(colour, 0.78), 'ship')
    sprite.add(rectangle(x1 + 0.2, x2 - 0.2, -half + 0.2, half - 0.2), colour, 'ship')
    sprite.add(rectangle(x2 - 0.18 * (x2 - x1), x2 - 0.05, -half * 0.9, half * 0.9), (52, 58, 66), 'glass')
    sprite.cast(block, 0.0, height)


def motorboat(rng: np.random.Generator, light: np.ndarray, scale: float, length: float) -> Sprite:
    """An open or cabin motor boat of 5 to 18 m."""
    length = length * scale
    half = length * rng.uniform(0.145, 0.175)
    rim = blend((228, 228, 226), _HULLS[rng.integers(len(_HULLS))], 0.0 if rng.random() < 0.75 else 0.9)
    deck: Colour = (206, 204, 198) if rng.random() < 0.6 else (168, 138, 104)
    sprite = Sprite('ship', length, 2 * half, 1.2 + 0.08 * length)
    outline = hull(length, half, 0.12, 0.88)
    _layers(sprite, outline, rim, deck, 0.09 * half + 0.12, length, half)
    sprite.add(rectangle(-0.44 * length, -0.12 * length, -0.62 * half, 0.62 * half), tint(deck, 0.66), 'deck')
    sprite.add(
        np.array(
            [
                [0.20 * length, -0.3 * half],
                [0.20 * length, 0.3 * half],
                [0.02 * length, 0.66 * half],
                [0.02 * length, -0.66 * half],
            ]
        ),
        (50, 58, 68),
        'glass',
    )
    if length > 8 or rng.random() < 0.4:
        roof: Colour = (232, 232, 230) if rng.random() < 0.7 else (44, 66, 104)
        sprite.add(rectangle(-0.20 * length, 0.06 * length, -0.62 * half, 0.62 * half), tint(roof, 0.8), 'ship')
        sprite.add(rectangle(-0.19 * length, 0.04 * length, -0.5 * half, 0.5 * half), roof, 'ship')
        sprite.cast(rectangle(-0.2 * length, 0.06 * length, -0.6 * half, 0.6 * half), 0.0, 1.5 + 0.1 * length)
    sprite.add(rectangle(-0.495 * length, -0.455 * length, -0.2 * half, 0.2 * half), (40, 40, 42), 'hot')
    sprite.cast(outline[::2], 0.0, 0.6 + 0.05 * length)
    return sprite


def yacht(rng: np.random.Generator, light: np.ndarray, scale: float, length: float) -> Sprite:
    """A sailing yacht of 8 to 18 m with its mast and boom."""
    length = length * scale
    half = length * rng.uniform(0.135, 0.155)
    sprite = Sprite('ship', length, 2 * half, 2.0)
    rim: Colour = (230, 230, 228) if rng.random() < 0.8 else (40, 58, 90)
    outline = hull(length, half, 0.08, 0.72)
    _layers(sprite, outline, rim, (196, 184, 160) if rng.random() < 0.45 else (212, 211, 206), 0.1 * half, length, half)
    cabin = hull(length * 0.46, half * 0.52, 0.3, 0.9) + np.array([0.06 * length, 0.0])
    sprite.add(cabin, (226, 226, 224), 'ship')
    sprite.add(rectangle(-0.42 * length, -0.2 * length, -0.42 * half, 0.42 * half), (116, 104, 88), 'deck')
    cover: Colour = (44, 70, 116) if rng.random() < 0.6 else (222, 220, 212)
    sprite.add(strip((-0.30 * length, 0), (0.10 * length, 0), 0.34), cover, 'plastic')
    sprite.add(ellipse(0.10 * length, 0, 0.16, 0.16, 8), (240, 240, 240), 'metal')
    sprite.cast(outline[::2], 0.0, 0.9)
    sprite.cast(ellipse(0.10 * length, 0, 0.12, 0.12, 6), 0.0, length * 1.15)
    return sprite


def workboat(rng: np.random.Generator, light: np.ndarray, scale: float, length: float) -> Sprite:
    """A tug, trawler or ferry of 16 to 40 m."""
    length = length * scale
    half = length * rng.uniform(0.12, 0.155)
    sprite = Sprite('ship', length, 2 * half, 6.0)
    deck: Colour = tuple(rng.choice([(94, 108, 98), (126, 70, 56), (122, 124, 122), (142, 122, 96)]).tolist())
    outline = hull(length, half, 0.3, 0.85)
    _layers(sprite, outline, _HULLS[rng.integers(len(_HULLS))], deck, 0.35, length, half)
    sprite.cast(outline[::2], 0.0, 2.2)
    forward = rng.random() < 0.6
    x1 = (0.05 if forward else -0.38) * length
    _tower(sprite, x1, x1 + 0.24 * length, half * 0.68, (226, 226, 222), light, 7.0)
    _tower(sprite, x1 + 0.05 * length, x1 + 0.17 * length, half * 0.44, (234, 234, 232), light, 2.5)
    for x in (np.linspace(-0.36, -0.06, 3) if forward else np.linspace(-0.02, 0.26, 3)) * length:
        colour = tint(_BOXES[rng.integers(len(_BOXES))], 0.9)
        size = rng.uniform(0.03, 0.06) * length
        sprite.add(rectangle(x - size, x + size, -0.4 * half, 0.4 * half), colour, 'metal')
    sprite.add(strip((-0.3 * length, 0.2 * half), (-0.05 * length, -0.3 * half), 0.3), (196, 164, 60), 'metal')
    sprite.add(ellipse(x1 + 0.04 * length, 0, 0.9, 0.9, 10), (58, 44, 42), 'hot')
    return sprite


def cargo(rng: np.random.Generator, light: np.ndarray, scale: float, length: float) -> Sprite:
    """A container ship, bulk carrier, tanker or barge of 40 to 110 m."""
    length = length * scale
    kind = str(rng.choice(['container', 'bulk', 'tanker', 'barge'], p=[0.35, 0.25, 0.2, 0.2]))
    half = length * (rng.uniform(0.075, 0.09) if kind != 'barge' else rng.uniform(0.09, 0.12))
    sprite = Sprite('ship', length, 2 * half, 9.0)
    rust: Colour = tuple(rng.choice([(120, 62, 50), (104, 110, 104), (86, 96, 90), (132, 120, 104)]).tolist())
    outline = hull(length, half, 0.95 if kind == 'barge' else 0.55, 0.97 if kind == 'barge' else 0.86)
    _layers(sprite, outline, _HULLS[1 + rng.integers(5)], rust, 0.5, length, half)
    sprite.cast(outline[::2], 0.0, 3.0 if kind == 'barge' else 6.0)
    first, last = (-0.46, 0.44) if kind == 'barge' else (-0.28, 0.34)
    if kind == 'container':
        _containers(sprite, rng, first * length, last * length, half * 0.9)
        sprite.cast(rectangle(first * length, last * length, -half * 0.9, half * 0.9), 0.0, 11.0)
    elif kind == 'tanker':
        _piping(sprite, rng, first * length, last * length, half)
    else:
        _hatches(sprite, rng, first * length, last * length, half, light)
    if kind != 'barge':
        _tower(sprite, -0.45 * length, -0.31 * length, half * 0.8, (228, 228, 224), light, 16.0)
        sprite.add(rectangle(-0.34 * length, -0.325 * length, -half * 0.98, half * 0.98), (234, 234, 232), 'ship')
        sprite.add(ellipse(-0.42 * length, 0, 1.6, 1.3, 12), (62, 52, 48), 'hot')
        sprite.add(ellipse(0.42 * length, 0, 0.8, 0.8, 8), (206, 206, 202), 'metal')
    return sprite


def _containers(sprite: Sprite, rng: np.random.Generator, x1: float, x2: float, half: float) -> None:
    """Stacks of containers in rows across the deck."""
    rows = max(2, int(2 * half / 2.5))
    width = 2 * half / rows
    x = x1
    while x + 6.1 < x2:
        long = 12.2 if rng.random() < 0.5 and x + 12.2 < x2 else 6.1
        for row in range(rows):
            if rng.random() < 0.92:
                y = -half + row * width
                colour = tint(_BOXES[rng.integers(len(_BOXES))], rng.uniform(0.8, 1.1))
                sprite.add(rectangle(x + 0.1, x + long - 0.1, y + 0.08, y + width - 0.08), colour, 'metal')
        x += long + 0.7


def _hatches(sprite: Sprite, rng: np.random.Generator, x1: float, x2: float, half: float, light: np.ndarray) -> None:
    """Hatch covers, some of them open over a dark hold or cargo."""
    count = int(rng.integers(3, 6))
    edges = np.linspace(x1, x2, count + 1)
    cover = tint(tuple(rng.choice([(132, 134, 130), (112, 88, 70), (150, 146, 134)]).tolist()), 1.0)
    for left, right in zip(edges[:-1] + 1.0, edges[1:] - 1.0):
        sprite.add(rectangle(left, right, -half * 0.66, half * 0.66) - light[:2] * 0.8, (46, 46, 46), 'deck')
        hold = rng.random() < 0.25
        colour = (58, 54, 50) if hold else tint(cover, rng.uniform(0.92, 1.08))
        sprite.add(rectangle(left, right, -half * 0.64, half * 0.64), colour, 'metal')
        sprite.add(strip((left, 0), (right, 0), 0.25), tint(colour, 0.8), 'metal')


def _piping(sprite: Sprite, rng: np.random.Generator, x1: float, x2: float, half: float) -> None:
    """A tanker's pipes and manifold."""
    pipe: Colour = (170, 168, 160)
    for y in (-0.16, 0.0, 0.16):
        sprite.add(strip((x1, y * half), (x2, y * half), 0.4), pipe, 'metal')
    for x in np.linspace(x1, x2, 6):
        sprite.add(rectangle(x - 0.15, x + 0.15, -half * 0.8, half * 0.8), tint(pipe, 0.82), 'metal')
        sprite.add(ellipse(x + 2.0, half * 0.45, 0.7, 0.7, 8), tint(pipe, 1.1), 'metal')
    middle = (x1 + x2) / 2
    sprite.add(rounded(middle - 2.2, middle + 2.2, -half * 0.86, half * 0.86, 0.2, 0.2), (120, 64, 52), 'metal')
    for y in np.linspace(-0.7, 0.7, 6) * half:
        sprite.add(strip((middle - 1.8, y), (middle + 1.8, y), 0.3), (206, 204, 198), 'metal')


def ship(rng: np.random.Generator, light: np.ndarray, scale: float = 1.0, size: str = 'any') -> Sprite:
    """A vessel; ``size`` is 'boat', 'yacht', 'work', 'cargo' or 'any'. ``light`` is the sun in its frame."""
    if size == 'any':
        size = str(rng.choice(['boat', 'yacht', 'work', 'cargo'], p=[0.4, 0.25, 0.2, 0.15]))
    if size == 'boat':
        return motorboat(rng, light, scale, rng.uniform(5.5, 15.0))
    if size == 'yacht':
        return yacht(rng, light, scale, rng.uniform(8.5, 16.0))
    if size == 'work':
        return workboat(rng, light, scale, rng.uniform(16.0, 34.0))
    return cargo(rng, light, scale, rng.uniform(42.0, 95.0))

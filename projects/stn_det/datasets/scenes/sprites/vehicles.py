"""Cars, vans, trucks and buses."""

from __future__ import annotations

from functools import cache

import numpy as np

from stn_det.datasets.scenes.shapes import Colour, Sprite, blend, ellipse, rectangle, rounded, tint

# Shares of car colours on the road, roughly as paint makers report them.
_CAR_COLOURS: tuple[tuple[float, Colour], ...] = (
    (0.27, (226, 227, 226)),
    (0.20, (30, 31, 34)),
    (0.17, (92, 94, 98)),
    (0.15, (164, 167, 170)),
    (0.07, (43, 62, 104)),
    (0.06, (132, 33, 32)),
    (0.03, (121, 107, 88)),
    (0.02, (52, 74, 62)),
    (0.02, (176, 58, 44)),
    (0.01, (190, 150, 52)),
)
_SHARES = np.cumsum([share for share, _ in _CAR_COLOURS])
_TRUCK_BODIES: tuple[Colour, ...] = (
    (226, 226, 222), (214, 216, 214), (232, 232, 230), (176, 178, 178), (120, 124, 126),
    (86, 112, 106), (62, 78, 108), (128, 62, 52), (178, 146, 92), (206, 168, 62),
)  # fmt: skip
_CAR_MATERIALS = {'glass': 'glass', 'screen': 'glass', 'hood': 'hood'}
_GLASS: Colour = (34, 38, 45)


def car_colour(rng: np.random.Generator) -> Colour:
    """Draw a body colour with realistic frequencies and a little variation."""
    base = _CAR_COLOURS[int(np.searchsorted(_SHARES, rng.random() * _SHARES[-1]))][1]
    return tint(base, rng.uniform(0.88, 1.1))


@cache
def _car_outlines(style: str) -> tuple[tuple[str, np.ndarray], ...]:
    """Outlines of a car that fills the box [-1, 1] x [-1, 1], with the role that decides each colour."""
    body = rounded(-1.0, 1.0, -1.0, 1.0, 0.0, 0.0)
    corner_front, corner_back = (0.16, 0.42), (0.10, 0.28)
    signs = np.sign(body)
    pull = np.where(signs[:, :1] > 0, corner_front, corner_back)
    steps = np.tile(np.linspace(0, np.pi / 2, 4), 4)
    cos, sin = np.cos(steps), np.sin(steps)
    odd = (np.arange(16) // 4) % 2 == 0
    along, across = np.where(odd, sin, cos), np.where(odd, cos, sin)
    body = signs * (1.0 - pull + pull * np.stack([along, across], axis=1))
    roof = {'sedan': (-0.42, 0.10), 'suv': (-0.80, 0.16), 'van': (-0.90, 0.38), 'pickup': (-0.14, 0.18)}[style]
    glass = {'sedan': (-0.70, 0.40), 'suv': (-0.94, 0.44), 'van': (-0.95, 0.62), 'pickup': (-0.26, 0.46)}[style]
    low, high = 0.86, 0.70
    cabin = np.array([
        [glass[1], -0.62], [glass[1] + 0.04, 0.0], [glass[1], 0.62], [roof[1], low], [roof[0], low],
        [glass[0], 0.66], [glass[0], -0.66], [roof[0], -low], [roof[1], -low],
    ])  # fmt: skip
    top = np.array([[roof[1], -high], [roof[1] + 0.03, 0], [roof[1], high], [roof[0], high], [roof[0], -high]])
    screen = np.array(
        [[glass[1] - 0.03, -0.5], [glass[1] - 0.03, 0.5], [roof[1] + 0.07, 0.62], [roof[1] + 0.07, -0.62]]
    )
    parts = [('edge', body), ('body', body * (0.965, 0.88)), ('glass', cabin), ('screen', screen), ('roof', top)]
    if style == 'pickup':
        parts.append(('bed', rectangle(-0.93, -0.34, -0.74, 0.74)))
    hood = np.array([[0.92, -0.55], [0.92, 0.55], [glass[1] + 0.1, 0.5], [glass[1] + 0.1, -0.5]])
    parts.insert(2, ('hood', hood))
    parts.insert(3, ('lamp', rectangle(0.91, 0.985, -0.78, -0.45)))
    parts.insert(4, ('lamp', rectangle(0.91, 0.985, 0.45, 0.78)))
    return tuple(parts)


def car(rng: np.random.Generator, light: np.ndarray, scale: float = 1.0) -> Sprite:
    """A passenger car, sport utility, van or pickup; ``light`` is the (3,) direction to the sun in the car's frame."""
    style = ('sedan', 'suv', 'van', 'pickup')[int(np.searchsorted((0.52, 0.82, 0.91), rng.random()))]
    length, width, height = {
        'sedan': (4.6, 1.82, 1.45), 'suv': (4.65, 1.9, 1.7), 'van': (5.1, 1.95, 2.0), 'pickup': (5.4, 1.95, 1.8),
    }[style]  # fmt: skip
    length, width = length * scale * rng.uniform(0.93, 1.06), width * scale * rng.uniform(0.96, 1.04)
    colour = car_colour(rng) if style != 'van' or rng.random() < 0.4 else (228, 228, 226)
    shine = 0.94 + 0.16 * light[2]
    tones = {
        'edge': tint(colour, 0.74),
        'body': tint(colour, 0.96 * shine),
        'hood': blend(tint(colour, 1.02 * shine), (255, 255, 255), 0.07 + 0.08 * max(0.0, light[0])),
        'glass': _GLASS,
        'screen': (74, 84, 94) if light[0] > 0.15 else (48, 54, 62),
        'roof': blend(tint(colour, 1.04 * shine), (255, 255, 255), 0.10),
        'bed': tint(colour, 0.42),
        'lamp': blend(colour, (235, 235, 230), 0.55),
    }
    sprite = Sprite('small-vehicle', length, width, height)
    half = (length / 2, width / 2)
    for role, outline in _car_outlines(style):
        sprite.add(outline * half, tones[role], _CAR_MATERIALS.get(role, 'vehicle'))
    sprite.cast(sprite.outlines[0], 0.0, height * 0.55)
    sprite.cast(rectangle(-0.30 * length, 0.12 * length, -0.4 * width, 0.4 * width), height * 0.5, height)
    return sprite


def _ribs(sprite: Sprite, x1: float, x2: float, half: float, colour: Colour, count: int) -> None:
    """Cross ribs of a trailer roof."""
    for x in np.linspace(x1, x2, count + 2)[1:-1]:
        sprite.add(rectangle(x - 0.07, x + 0.07, -half, half), colour, 'vehicle')


def _cab(sprite: Sprite, front: float, length: float, half: float, colour: Colour) -> None:
    """Driver's cab whose nose is at x = ``front``."""
    sprite.add(rounded(front - length, front, -half, half, 0.35, 0.1), tint(colour, 0.8), 'hood')
    sprite.add(rounded(front - length + 0.1, front - 0.12, -half + 0.14, half - 0.14, 0.3, 0.1), colour, 'hood')
    sprite.add(rectangle(front - 0.62, front - 0.2, -half + 0.22, half - 0.22), _GLASS, 'glass')
    sprite.add(
        rectangle(front - length * 0.8, front - length * 0.45, -half + 0.5, half - 0.5), tint(colour, 0.86), 'hood'
    )


def _box_body(sprite: Sprite, x1: float, x2: float, half: float, colour: Colour, light: np.ndarray, ribs: int) -> None:
    """Closed trailer or truck body with a lit and a dark long edge."""
    sprite.add(rectangle(x1, x2, -half, half), tint(colour, 0.72), 'vehicle')
    sprite.add(rectangle(x1 + 0.08, x2 - 0.08, -half + 0.1, half - 0.1), colour, 'vehicle')
    side = half - 0.16
    lit = 1.0 if light[1] > 0 else -1.0
    sprite.add(
        rectangle(x1 + 0.08, x2 - 0.08, *sorted((lit * side, lit * (side - 0.14)))), tint(colour, 1.12), 'vehicle'
    )
    _ribs(sprite, x1, x2, half - 0.3, tint(colour, 0.93), ribs)


def truck(rng: np.random.Generator, light: np.ndarray, scale: float = 1.0) -> Sprite:
    """A large vehicle: articulated truck, box truck, tank truck, flatbed, parked trailer or bus."""
    kind = rng.choice(['semi', 'box', 'tanker', 'flat', 'trailer', 'bus'], p=[0.34, 0.20, 0.10, 0.08, 0.14, 0.14])
    body = tint(_TRUCK_BODIES[rng.choice(len(_TRUCK_BODIES), p=_BODY_SHARES)], rng.uniform(0.9, 1.05))
    return _TRUCKS[str(kind)](rng, light, scale, body)


_BODY_SHARES = np.array([5, 4, 4, 2, 1.2, 0.8, 0.8, 0.7, 0.7, 0.5]) / 19.7


def _semi(rng: np.random.Generator, light: np.ndarray, scale: float, body: Colour) -> Sprite:
    length, half = rng.uniform(14.0, 17.0) * scale, 1.3 * scale
    sprite = Sprite('large-vehicle', length, 2 * half, 3.8)
    front, back = length / 2, -length / 2
    sprite.add(rectangle(front - 5.5, front - 1.5, -0.8 * half, 0.8 * half), (52, 52, 54), 'metal')
    _cab(sprite, front, rng.uniform(2.4, 3.6), half, car_colour(rng))
    _box_body(sprite, back, front - rng.uniform(3.5, 4.4), half, body, light, int(rng.integers(0, 9)))
    sprite.cast(rectangle(back, front - 4.0, -half, half), 0.0, 3.8)
    sprite.cast(rectangle(front - 3.0, front, -half, half), 0.0, 2.9)
    return sprite


def _box_truck(rng: np.random.Generator, light: np.ndarray, scale: float, body: Colour) -> Sprite:
    length, half = rng.uniform(7.0, 9.5) * scale, rng.uniform(1.15, 1.25) * scale
    sprite = Sprite('large-vehicle', length, 2 * half, 3.3)
    front, back = length / 2, -length / 2
    _cab(sprite, front, 1.9, half, body if rng.random() < 0.6 else car_colour(rng))
    _box_body(sprite, back, front - 2.1, half, body, light, int(rng.integers(0, 5)))
    sprite.cast(rectangle(back, front - 2.1, -half, half), 0.0, 3.3)
    sprite.cast(rectangle(front - 2.1, front, -half, half), 0.0, 2.3)
    return sprite


def _tanker(rng: np.random.Generator, light: np.ndarray, scale: float, body: Colour) -> Sprite:
    length, half = rng.uniform(11.0, 15.0) * scale, 1.25 * scale
    sprite = Sprite('large-vehicle', length, 2 * half, 3.4)
    front, back = length / 2, -length / 2
    sprite.add(rectangle(back + 0.4, front - 1.5, -0.7 * half, 0.7 * half), (50, 50, 52), 'metal')
    _cab(sprite, front, 2.3, half, car_colour(rng))
    x1, x2 = back, front - 3.3
    base: Colour = (206, 209, 211) if rng.random() < 0.7 else body
    sprite.add(rounded(x1, x2, -half, half, 0.6, 0.6), tint(base, 0.55), 'metal')
    for inner, factor, material in ((0.86, 0.8, 'metal'), (0.6, 0.96, 'metal'), (0.3, 1.12, 'metal')):
        shift = 0.25 * half * light[1]
        sprite.add(rounded(x1 + 0.15, x2 - 0.15, shift - half * inner * 0.8, shift + half * inner * 0.8, 0.5, 0.5),
                   tint(base, factor), material)  # fmt: skip
    for x in np.linspace(x1 + 1.5, x2 - 1.5, 4):
        sprite.add(ellipse(x, 0.0, 0.3, 0.3, 8), (92, 94, 96), 'metal')
    sprite.cast(rectangle(x1, x2, -half, half), 0.0, 3.2)
    sprite.cast(rectangle(x2, front, -half, half), 0.0, 2.6)
    return sprite


def _flatbed(rng: np.random.Generator, light: np.ndarray, scale: float, body: Colour) -> Sprite:
    length, half = rng.uniform(10.0, 15.0) * scale, 1.25 * scale
    sprite = Sprite('large-vehicle', length, 2 * half, 2.0)
    front, back = length / 2, -length / 2
    sprite.add(rectangle(back, front - 1.5, -half, half), (96, 84, 68), 'wood')
    _ribs(sprite, back, front - 2.8, half - 0.1, (76, 66, 54), 9)
    x = back + 0.5
    while x < front - 5.5:
        size = rng.uniform(1.5, 4.0)
        if rng.random() < 0.7:
            colour = tint(_TRUCK_BODIES[int(rng.integers(len(_TRUCK_BODIES)))], 0.9)
            sprite.add(rectangle(x, min(x + size, front - 3.2), -half + 0.15, half - 0.15), colour, 'vehicle')
        x += size + 0.3
    _cab(sprite, front, 2.4, half, car_colour(rng))
    sprite.cast(rectangle(back, front, -half, half), 0.0, 2.2)
    return sprite


def _trailer(rng: np.random.Generator, light: np.ndarray, scale: float, body: Colour) -> Sprite:
    length, half = rng.uniform(11.5, 13.8) * scale, 1.28 * scale
    sprite = Sprite('large-vehicle', length, 2 * half, 3.9)
    _box_body(sprite, -length / 2, length / 2, half, body, light, int(rng.integers(4, 12)))
    sprite.cast(sprite.outlines[0], 0.0, 3.9)
    return sprite


def _bus(rng: np.random.Generator, light: np.ndarray, scale: float, body: Colour) -> Sprite:
    length, half = rng.uniform(9.5, 12.5) * scale, 1.26 * scale
    colour: Colour = (214, 158, 44) if rng.random() < 0.35 else (228, 228, 226) if rng.random() < 0.6 else body
    sprite = Sprite('large-vehicle', length, 2 * half, 3.1)
    front, back = length / 2, -length / 2
    sprite.add(rounded(back, front, -half, half, 0.35, 0.25), tint(colour, 0.7), 'vehicle')
    sprite.add(rounded(back + 0.12, front - 0.55, -half + 0.14, half - 0.14, 0.3, 0.2), colour, 'vehicle')
    sprite.add(rectangle(front - 0.5, front - 0.14, -half + 0.2, half - 0.2), _GLASS, 'glass')
    sprite.add(
        rectangle(back + 0.6, front - 1.2, -half * 0.45, half * 0.45), blend(colour, (255, 255, 255), 0.3), 'vehicle'
    )
    for x in rng.uniform(back + 1.5, front - 2.5, 2):
        sprite.add(rectangle(x, x + 1.5, -0.55, 0.55), tint(colour, 0.8), 'metal')
    sprite.cast(sprite.outlines[0], 0.0, 3.1)
    return sprite


_TRUCKS = {
    'semi': _semi, 'box': _box_truck, 'tanker': _tanker, 'flat': _flatbed, 'trailer': _trailer, 'bus': _bus,
}  # fmt: skip

"""Pieces that several layouts use: roads with traffic, parking rows, trees, buildings and yard clutter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from stn_det.datasets.scenes.shapes import box, strip
from stn_det.datasets.scenes.sprites import buildings, clutter, vehicles
from stn_det.datasets.scenes.view import rotation
from stn_det.datasets.scenes.world import World


@dataclass(frozen=True)
class Frame:
    """A turned and shifted frame on the ground."""

    x: float
    y: float
    heading: float

    def at(self, x: float, y: float) -> np.ndarray:
        """(2,) ground point of a local point."""
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return np.array([cos * x - sin * y + self.x, sin * x + cos * y + self.y])

    def area(self, x1: float, x2: float, y1: float, y2: float) -> np.ndarray:
        """(4, 2) ground outline of a local rectangle."""
        return box((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1) @ rotation(self.heading).T + (self.x, self.y)


def blob(
    rng: np.random.Generator, x: float, y: float, radius: float, rough: float = 0.25, stretch: float = 1.0
) -> np.ndarray:
    """(40, 2) natural outline around a point."""
    angles = np.linspace(0, 2 * math.pi, 41)[:-1]
    wobble = np.ones(40)
    for order in (2, 3, 5, 8):
        wobble += rough / order * rng.normal() * np.cos(order * angles + rng.uniform(0, 2 * math.pi))
    circle = (
        np.stack([np.cos(angles) * stretch, np.sin(angles)], axis=1) * (radius * np.clip(wobble, 0.3, 2.0))[:, None]
    )
    return circle @ rotation(rng.uniform(0, math.pi)).T + (x, y)


def traffic(
    world: World, frame: Frame, length: float, lanes: tuple[float, ...], gap: float, trucks: float = 0.15
) -> None:
    """Vehicles driving along lanes at local y = ``lanes``; those on the right side of the road drive towards +x."""
    for lane in lanes:
        x = -length / 2 + world.rng.uniform(0, gap)
        while x < length / 2:
            ahead = frame.heading if lane > 0 else frame.heading + math.pi
            make = vehicles.truck if world.chance(trucks) else vehicles.car
            point = frame.at(x, lane + world.rng.normal(0, 0.15))
            world.put(make, *point, ahead + world.rng.normal(0, 0.015), world.scale, margin=0.3)
            x += 9.0 + world.rng.exponential(gap / world.config.density)


def road(
    world: World,
    frame: Frame,
    length: float,
    lanes: int = 2,
    gap: float = 45.0,
    trucks: float = 0.15,
    kerb: bool = True,
    crossing: float | None = None,
) -> float:
    """A straight road along the local x axis with markings and traffic.

    Args:
        world: The world to fill.
        frame: The road's middle and direction.
        length: Half its length in metres.
        lanes: Number of lanes.
        gap: Mean distance between vehicles in metres.
        trucks: Share of large vehicles.
        kerb: Lay kerbs and pavements.
        crossing: Local x of a junction, where the markings stop.

    Returns:
        Half its width in metres.
    """
    lane = 3.4
    half = lane * lanes / 2 + 0.8
    side = half + 2.2
    if kerb:
        world.cover('concrete', frame.area(-length, length, -side, side), 0.0, frame.heading)
    world.cover('road', frame.area(-length, length, -half, half), 0.0 if kerb else 0.35)
    world.claim(frame.area(-length, length, -side, side))
    world.stain(frame.area(-length, length, lane * 0.3 - 0.3, lane * 0.3 + 0.3), -0.10)
    for y in (-lane * 0.28, -lane * 0.72, lane * 0.28, lane * 0.72):
        world.stain(frame.area(-length, length, y - 0.28, y + 0.28), -0.22)
    pieces = ((-length, length),) if crossing is None else ((-length, crossing - 6.0), (crossing + 6.0, length))
    middle = 'yellow' if world.chance(0.4) else 'white'
    for start, end in pieces:
        _road_lines(world, frame, start, end, lane, lanes, middle)
    if crossing is not None:
        for at, side in ((crossing - 6.0, 1), (crossing + 6.0, -1)):
            world.line(frame.at(at, side * 0.3), frame.at(at, side * (half - 0.6)), 0.35)
    centres = tuple(lane * (index + 0.5) for index in range(lanes // 2))
    traffic(world, frame, 2 * length, (*centres, *(-centre for centre in centres)), gap, trucks)
    return half


def _road_lines(world: World, frame: Frame, start: float, end: float, lane: float, lanes: int, middle: str) -> None:
    """Edge, centre and lane lines of one piece of road."""
    edge = lane * lanes / 2 + 0.25
    for y in (-edge, edge):
        world.line(frame.at(start, y), frame.at(end, y), 0.12)
    if lanes > 2:
        for y in (-0.14, 0.14):
            world.line(frame.at(start, y), frame.at(end, y), 0.12, middle)
        for y in (-lane, lane):
            world.dashes(frame.at(start, y), frame.at(end, y), 3.0, 6.0, 0.12)
    elif middle == 'yellow':
        for y in (-0.12, 0.12):
            world.line(frame.at(start, y), frame.at(end, y), 0.10, middle)
    else:
        world.dashes(frame.at(start, 0), frame.at(end, 0), 3.0, 6.0, 0.12, middle)


def fabric(world: World, frame: Frame, x1: float, x2: float, y1: float, y2: float) -> None:
    """Fill a local rectangle with parcels: buildings with a paved yard, small car parks, gardens and copses."""
    rng = world.rng
    y = y1
    while y < y2 - 12:
        depth = min(rng.uniform(24, 42), y2 - y)
        x = x1 - rng.uniform(0, 10)
        while x < x2:
            width = rng.uniform(24, 48)
            centre = frame.at(x + width / 2, y + depth / 2)
            if world.near(*centre, width) and world.is_free(*centre, width - 3, depth - 3, frame.heading):
                _parcel(world, Frame(*centre, frame.heading), width - 2.0, depth - 2.0)
            x += width
        y += depth


def _parcel(world: World, frame: Frame, width: float, depth: float) -> None:
    """One parcel around the local origin."""
    rng = world.rng
    pick = rng.random()
    x, y = width / 2, depth / 2
    if pick < 0.5:
        world.cover(
            str(rng.choice(['asphalt', 'concrete', 'gravel'], p=[0.6, 0.25, 0.15])), frame.area(-x, x, -y, y), 0.15
        )
        repairs(world, frame, width, depth, 5)
        length, across = width * rng.uniform(0.55, 0.85), max(8.0, depth - rng.uniform(9, 13))
        block(world, *frame.at(0, -y + across / 2 + 1), frame.heading, length, across)
        count = int((width - 6) / 2.62)
        stalls(world, Frame(*frame.at(count * 1.31, y - 0.5), frame.heading + math.pi), count, 0.5)
        yard_clutter(world, frame, width, depth, 3)
    elif pick < 0.64:
        world.cover('asphalt', frame.area(-x, x, -y, y), 0.0)
        count = int((width - 4) / 2.62)
        for at in np.arange(-y + 0.5, y - 16, 17.0):
            stalls(world, Frame(*frame.at(-count * 1.31, at), frame.heading), count, 0.7)
            stalls(world, Frame(*frame.at(count * 1.31, at + 16.5), frame.heading + math.pi), count, 0.7)
    elif pick < 0.82:
        woods(world, blob(rng, frame.x, frame.y, min(x, y) * 0.9, 0.2, 1.2))
    else:
        world.cover(
            'mown' if world.chance(0.5) else 'soil', blob(rng, frame.x, frame.y, min(x, y) * 0.9, 0.2, 1.2), 0.8
        )
        grove(world, (frame.x - x, frame.x + x, frame.y - y, frame.y + y), 7)
    world.claim(frame.area(-x, x, -y, y))


def repairs(world: World, frame: Frame, length: float, width: float, count: int) -> None:
    """Wear of a paved area: tar patches, dark oil spots and curved tyre tracks."""
    rng = world.rng
    for _ in range(count):
        x, y = rng.uniform(-length / 2, length / 2), rng.uniform(-width / 2, width / 2)
        pick = rng.random()
        if pick < 0.35:
            size = rng.uniform(1.0, 7.0, 2)
            outline = box(*frame.at(x, y), size[0], size[1], frame.heading)
            world.stain(outline, rng.choice([-1, 1]) * rng.uniform(0.12, 0.4))
        elif pick < 0.7:
            world.stain(
                blob(rng, *frame.at(x, y), rng.uniform(0.3, 1.6), 0.5, rng.uniform(1, 2.5)), -rng.uniform(0.3, 0.8)
            )
        else:
            radius, start = rng.uniform(8, 40), rng.uniform(0, 2 * math.pi)
            for offset in (0.0, 1.6):
                turns = start + np.linspace(0, rng.uniform(8, 25) / radius, 8)
                outer = np.stack([np.cos(turns), np.sin(turns)], axis=1)
                ring = np.concatenate([outer * (radius + offset), outer[::-1] * (radius + offset + 0.25)])
                world.stain(ring - outer[0] * radius + frame.at(x, y), -0.3)


def stalls(
    world: World,
    frame: Frame,
    count: int,
    filled: float,
    angle: float = math.pi / 2,
    trucks: bool = False,
    oil: bool = True,
) -> None:
    """One row of stalls along the local x axis, its back edge on y = 0 and its mouth towards +y.

    Args:
        world: The world to fill.
        frame: Where the row starts.
        count: Number of stalls.
        filled: Share of stalls in use.
        angle: Direction of a stall against the row in radians.
        trucks: Large stalls for large vehicles.
        oil: Leave oil spots.
    """
    rng = world.rng
    pitch, depth = (3.8, 17.5) if trucks else (2.62, 5.3)
    step = pitch / math.sin(angle)
    lean = depth / math.tan(angle) if abs(angle - math.pi / 2) > 1e-6 else 0.0
    mood = 0.0 if world.chance(0.5) else 0.5
    if not world.near(*frame.at(count * step / 2, depth / 2), count * step / 2 + depth + 8.0):
        return
    for index in range(count + 1):
        world.line(frame.at(index * step, 0.1), frame.at(index * step + lean, depth), 0.12)
    for index in range(count):
        x, y = (index + 0.5) * step + lean / 2, depth / 2
        if oil and world.chance(0.25):
            world.stain(
                blob(rng, *frame.at(x, y + rng.uniform(-1, 1)), rng.uniform(0.3, 0.7), 0.4), -rng.uniform(0.2, 0.6)
            )
        if not world.fills(filled):
            continue
        heading = frame.heading + angle + (math.pi if rng.random() > mood else 0.0) + rng.normal(0, 0.02)
        make = vehicles.truck if trucks else vehicles.car
        point = frame.at(x + rng.normal(0, 0.1), y + rng.normal(0, 0.25))
        world.put(make, *point, heading, world.scale)


def grove(
    world: World, outline_box: tuple[float, float, float, float], count: int, small: float = 1.6, large: float = 4.2
) -> None:
    """Scatter trees where there is room."""
    x1, x2, y1, y2 = outline_box
    if x1 >= x2 or y1 >= y2:
        return
    for _ in range(count):
        x, y = world.rng.uniform(x1, x2), world.rng.uniform(y1, y2)
        radius = float(np.clip(world.rng.lognormal(math.log((small + large) / 2), 0.3), small, large))
        if world.is_free(x, y, radius * 1.5, radius * 1.5):
            world.tree(x, y, radius)


def hedge(world: World, start: np.ndarray, end: np.ndarray, radius: float = 0.9) -> None:
    """A clipped hedge with its shadow."""
    shade = world.view.shadow * 1.4 * radius
    outline = strip(start, end, 2 * radius)
    world.darken(outline + shade, 0.45)
    world.darken(outline + shade / 2, 0.3)
    world.cover('forest', outline, 0.15)


def tree_row(world: World, start: np.ndarray, end: np.ndarray, spacing: float = 9.0, radius: float = 2.8) -> None:
    """An avenue of trees with a few gaps."""
    length = float(np.hypot(*(np.asarray(end) - start)))
    for share in np.arange(0.0, 1.0, spacing / max(length, spacing)):
        if world.chance(0.75):
            x, y = start + (np.asarray(end) - start) * share + world.rng.normal(0, 0.6, 2)
            world.tree(x, y, radius * world.rng.uniform(0.6, 1.3))


def woods(world: World, outline: np.ndarray) -> None:
    """Forest inside an outline if nothing else is there; single trees along its edge hide the seam."""
    if not world.open_ground(outline):
        return
    world.cover('forest', outline, 1.6)
    closed = np.concatenate([outline, outline[:1]])
    for start, end in pairwise(closed):
        length = float(np.hypot(*(end - start)))
        for share in np.arange(0.0, 1.0, 4.5 / max(length, 4.5)):
            x, y = start + (end - start) * share + world.rng.normal(0, 1.3, 2)
            world.tree(x, y, world.rng.uniform(1.8, 4.0))
    world.claim(outline)


def block(world: World, x: float, y: float, heading: float, length: float, width: float, kind: str = 'any') -> bool:
    """A building if there is room; ``kind`` is 'flat', 'hall' or 'any'. Returns whether it was placed."""
    rng = world.rng
    flat = kind == 'flat' or (kind == 'any' and rng.random() < 0.5)
    make = buildings.flat_building if flat else buildings.hall
    return world.put(make, x, y, heading, length, width, rng.uniform(4.5, 10.0), margin=0.5) is not None


def yard_clutter(world: World, frame: Frame, length: float, width: float, count: int) -> None:
    """Things that resemble vehicles and tanks, scattered over a local rectangle around the origin."""
    makers = (clutter.dumpster, clutter.pallets, clutter.shed, clutter.painted_box, clutter.lamp_post)
    for _ in range(count):
        x, y = world.rng.uniform(-length / 2, length / 2), world.rng.uniform(-width / 2, width / 2)
        make = makers[int(world.rng.choice(5, p=[0.25, 0.2, 0.15, 0.1, 0.3]))]
        turn = frame.heading + world.rng.integers(4) * math.pi / 2 + world.rng.normal(0, 0.05)
        world.put(make, *frame.at(x, y), turn, margin=0.4)


def path(world: World, points: np.ndarray, width: float, kind: str = 'gravel', soft: float = 0.25) -> None:
    """A winding path of a land cover through ground points (K, 2)."""
    points = np.asarray(points, float)
    along = np.gradient(points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) * width / 2
    outline = np.concatenate([points + normal, (points - normal)[::-1]])
    world.cover(kind, outline, soft)
    for start, end in pairwise(points):
        world.claim(strip(start, end, width))

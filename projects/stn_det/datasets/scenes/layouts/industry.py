"""Freight yards, industrial estates and tank farms."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from stn_det.datasets.scenes.layouts.common import (
    Frame,
    blob,
    block,
    fabric,
    grove,
    repairs,
    road,
    stalls,
    yard_clutter,
)
from stn_det.datasets.scenes.shapes import strip
from stn_det.datasets.scenes.sprites import clutter, tanks, vehicles
from stn_det.datasets.scenes.world import World

CLEAR_ELLIPSE = 40.0
"""Obliquity in degrees from which on the longer axis of a circle is plain to see: the axes' ratio is 0.77 there."""


def industrial(world: World) -> None:
    """Halls with loading docks, trailer rows, container stacks and staff parking."""
    rng, reach = world.rng, world.reach
    world.ground(str(rng.choice(['asphalt', 'concrete', 'gravel'], p=[0.5, 0.3, 0.2])))
    frame = Frame(rng.uniform(-10, 10), rng.uniform(-10, 10), 0.0)
    repairs(world, frame, 2 * reach, 2 * reach, 50)
    south = rng.uniform(28, 44)
    world.cover('grass', frame.area(-2 * reach, 2 * reach, south + 4, 3 * reach), 0.5)
    road(world, Frame(*frame.at(0, south + 15), 0.0), reach + 40, 2, 45.0, 0.4)
    grove(world, (world.x1, world.x2, frame.y + south + 4, world.y2), 25)
    north = -rng.uniform(18, 30)
    x = -reach - rng.uniform(0, 20)
    while x < reach:
        length = rng.uniform(30, 60)
        depth = rng.uniform(22, 36)
        if block(world, *frame.at(x + length / 2, north - depth / 2), 0.0, length, depth, 'hall'):
            _docks(world, frame, x + 2, x + length - 2, north)
        x += length + rng.uniform(5, 14)
    for row in range(2):
        y = north + 27.0 + row * 20.0
        left = -reach * 0.9
        while left < reach * 0.9 and y + 18 < south + 4:
            pick = rng.random()
            if pick < 0.38:
                count = int(rng.integers(5, 10))
                stalls(world, Frame(*frame.at(left, y), 0.0), count, rng.uniform(0.45, 0.9), trucks=True)
                left += count * 3.8 + 6
            elif pick < 0.72:
                left += _stacks(world, frame, left, y) + 5
            else:
                count = int(rng.integers(7, 13))
                stalls(world, Frame(*frame.at(left, y), 0.0), count, 0.75)
                stalls(world, Frame(*frame.at(left + count * 2.62, y + 17), math.pi), count, 0.75)
                left += count * 2.62 + 6
    yard_clutter(world, frame, 1.8 * reach, 2 * south, 30)
    for _ in range(4):
        world.put(
            vehicles.truck,
            *frame.at(rng.uniform(-reach, reach), north + 20 + rng.uniform(-3, 3)),
            math.pi * rng.integers(2) + rng.normal(0, 0.06),
            world.scale,
            margin=0.6,
        )


def _docks(world: World, frame: Frame, x1: float, x2: float, y: float) -> None:
    """Trailers backed against a hall's south wall."""
    for x in np.arange(x1 + 2, x2 - 2, 4.2):
        world.line(frame.at(x - 2.1, y + 1), frame.at(x - 2.1, y + 16), 0.12)
        if world.fills(0.42):
            heading = math.pi / 2 + world.rng.normal(0, 0.012)
            world.put(vehicles.truck, *frame.at(x, y + 9.6), heading, world.scale, margin=0.15)


def _stacks(world: World, frame: Frame, left: float, y: float) -> float:
    """A block of containers; returns its length."""
    rng = world.rng
    columns, rows = int(rng.integers(2, 5)), int(rng.integers(3, 6))
    for column in range(columns):
        for row in range(rows):
            if world.fills(0.82):
                point = frame.at(left + 6.4 + column * 12.9 + rng.normal(0, 0.12), y + 1.6 + row * 2.75)
                world.put(clutter.container, *point, rng.normal(0, 0.008), rng.random() < 0.75, margin=0.0)
    return columns * 12.9


def tank_farm(world: World) -> None:
    """Storage tanks in bunds, joined by pipes, with a service road and a loading bay."""
    rng, reach = world.rng, world.reach
    world.ground(str(rng.choice(['gravel', 'soil', 'concrete', 'grass'], p=[0.35, 0.2, 0.2, 0.25])))
    frame = Frame(rng.uniform(-20, 20), rng.uniform(-20, 20), 0.0)
    repairs(world, frame, 2 * reach, 2 * reach, 20)
    if world.chance(0.3):
        world.cover('water', frame.area(-3 * reach, 3 * reach, -3 * reach, -reach * 0.7), 0.6)
        world.claim(frame.area(-3 * reach, 3 * reach, -3 * reach, -reach * 0.7))
    side = rng.uniform(-0.6, 0.6) * reach
    road(world, Frame(*frame.at(0, 0), 0.0), reach + 40, 2, 22.0, 0.4, kerb=False, crossing=side)
    road(world, Frame(*frame.at(side, 0), math.pi / 2), reach + 40, 2, 25.0, 0.4, kerb=False, crossing=0.0)
    for sign_x in (-1, 1):
        for sign_y in (-1, 1):
            _quarter(world, frame, side, sign_x, sign_y)
    yard_clutter(world, frame, 2 * reach, 2 * reach, 18)
    for sign in (-1, 1):
        low, high = sorted((sign * 76.0, sign * (reach + 80)))
        fabric(world, frame, -reach - 20, reach + 20, low, high)
    grove(world, (world.x1, world.x2, world.y1, world.y2), 18, 1.4, 3.2)
    if world.chance(0.5):
        world.put(
            clutter.pond,
            *frame.at(rng.uniform(-1, 1) * reach, rng.choice([-1, 1]) * reach * 0.8),
            0.0,
            rng.uniform(5, 10),
            margin=2.0,
        )


def _quarter(world: World, frame: Frame, side: float, sign_x: int, sign_y: int) -> None:
    """Bunds from the crossing outwards in one quarter, with a pipe rack along the road."""
    rng, reach = world.rng, world.reach
    rack = sign_y * 7.2
    for offset in (0.0, 0.55, 1.1, 1.65):
        y = rack + sign_y * offset
        far = side + sign_x * 2 * reach
        world.stain(
            strip(frame.at(side + sign_x * 8, y) + world.view.shadow, frame.at(far, y) + world.view.shadow, 0.35), -0.5
        )
        world.line(frame.at(side + sign_x * 8, y), frame.at(far, y), 0.26)
    at = 8.0
    while at < 1.6 * reach:
        base = float(rng.choice([3.2, 4.5, 6.5, 9.0, 13.0], p=[0.2, 0.27, 0.27, 0.17, 0.09]))
        columns = int(rng.integers(2, 5)) if base < 8 else 1 + int(rng.integers(2))
        rows = max(1, int(rng.uniform(40, 56) / (2.7 * base)))
        pitch = base * rng.uniform(2.4, 2.75)
        length, depth = columns * pitch + 2, rows * pitch + 2
        left = side + at if sign_x > 0 else side - at - length
        _bund(world, frame, left, sign_y * (10.5 + depth / 2), columns, rows, pitch, base)
        for _ in range(2):
            point = frame.at(left + rng.uniform(0, length), sign_y * (14.5 + depth + rng.uniform(0, 6)))
            world.put(
                vehicles.truck if rng.random() < 0.5 else vehicles.car,
                *point,
                rng.normal(0, 0.03),
                world.scale,
                margin=0.5,
            )
        at += length + rng.uniform(3.0, 6.5)


def _bund(world: World, frame: Frame, x: float, y: float, columns: int, rows: int, pitch: float, base: float) -> None:
    """One walled basin with equal tanks and their pipes."""
    rng = world.rng
    length, depth = columns * pitch + 2, rows * pitch + 2
    area = frame.area(x, x + length, y - depth / 2, y + depth / 2)
    world.cover(str(rng.choice(['concrete', 'gravel', 'dirt-pad', 'grass'])), area, 0.2)
    wall = np.concatenate([area, area[:1]])
    for start, end in pairwise(wall):
        world.stain(strip(start, end, 0.8), 0.6)
        world.stain(strip(start + world.view.shadow * 0.8, end + world.view.shadow * 0.8, 0.7), -0.7)
    for column in range(columns):
        centre = x + 1 + (column + 0.5) * pitch
        for offset in (-0.5, 0.5):
            world.line(
                frame.at(centre + offset + base * 0.7, y - depth / 2),
                frame.at(centre + offset + base * 0.7, y + depth / 2),
                0.3,
            )
        for row in range(rows):
            point = frame.at(centre, y - depth / 2 + 1 + (row + 0.5) * pitch)
            if world.fills(0.88):
                radius = base * (rng.uniform(0.95, 1.02) if rng.random() < 0.8 else rng.uniform(0.5, 0.8))
                upright = tank_heading(world)
                world.put(tanks.tank, *point, upright, world.scale, radius, margin=0.2)
            elif world.chance(0.4):
                world.stain(blob(rng, *point, base, 0.02), 0.5)


def tank_heading(world: World) -> float:
    """Heading of a tank's box on the ground.

    A circle has no front. Its box is upright seen from above, as annotators draw it, and leans a little under an
    oblique view; once the view is so oblique that the circle becomes a clear ellipse, the box lies along the ellipse's
    axes. The axes of a circle seen from a little aside could neither be seen nor learnt.
    """
    yaw = math.radians(world.view.yaw)
    if world.view.obliquity < CLEAR_ELLIPSE:
        return -math.pi / 2 - yaw
    return math.radians(world.view.tilt_azimuth) - math.pi / 2 - yaw

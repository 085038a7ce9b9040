"""Marinas, cargo quays and open water."""

from __future__ import annotations

import math

import numpy as np

from stn_det.datasets.scenes.layouts.common import (
    Frame,
    block,
    fabric,
    grove,
    repairs,
    road,
    stalls,
    yard_clutter,
)  # fmt: skip
from stn_det.datasets.scenes.shapes import strip
from stn_det.datasets.scenes.sprites import clutter, ships, vehicles
from stn_det.datasets.scenes.world import Placed, World


def wake(world: World, placed: Placed, strength: float) -> None:
    """Foam of a moving ship: churned water astern and two bow waves. Not part of the label."""
    frame = Frame(placed.x, placed.y, placed.heading)
    length, half = placed.sprite.length, placed.sprite.width / 2
    x = -length / 2
    tail = x - length * (1.5 + 2.0 * strength)
    outline = np.array(
        [frame.at(x, half * 0.7), frame.at(x, -half * 0.7), frame.at(tail, -half * 1.5), frame.at(tail, half * 1.5)]
    )
    world.wakes.append((outline, 0.32 * strength))
    near = np.array(
        [
            frame.at(x, half * 0.6),
            frame.at(x, -half * 0.6),
            frame.at(x - length * 0.8, -half),
            frame.at(x - length * 0.8, half),
        ]
    )
    world.wakes.append((near, 0.75 * strength))
    for side in (-1, 1):
        start, end = (
            frame.at(length * 0.42, side * half * 0.5),
            frame.at(x - length * 0.9, side * (half + length * 0.42)),
        )
        world.wakes.append((strip(start, end, 0.10 * length * strength + 0.5), 0.55 * strength))


def sea(world: World) -> None:
    """Open water with ships under way and at anchor, sometimes a coast."""
    rng, reach = world.rng, world.reach
    world.ground('water', heading=rng.uniform(-math.pi, math.pi))
    if world.chance(0.45):
        shore = rng.uniform(0.35, 0.8) * reach
        wavy = np.linspace(-3 * reach, 3 * reach, 60)
        edge = shore + 6 * np.sin(wavy / 23 + rng.uniform(0, 6)) + 3 * np.sin(wavy / 9 + rng.uniform(0, 6))
        line = np.stack([wavy, edge], axis=1)
        far = np.array([[3 * reach, 4 * reach], [-3 * reach, 4 * reach]])
        world.wakes.append((np.concatenate([line - np.array([0, 2.0]), (line + np.array([0, 1.0]))[::-1]]), 0.55))
        world.cover('sand', np.concatenate([line, far]), 0.5)
        world.cover('grass', np.concatenate([line + np.array([0, 9]), far]), 1.2)
        world.claim(np.array([[-3 * reach, shore - 8], [3 * reach, shore - 8], *far]))
        for _ in range(40):
            world.tree(rng.uniform(-reach, reach), shore + 22 + rng.uniform(0, 2 * reach), rng.uniform(1.5, 4))
    for _ in range(int(rng.integers(10, 24) * world.config.density)):
        point = rng.uniform((world.x1, world.y1), (world.x2, world.y2))
        size = str(rng.choice(['boat', 'yacht', 'work', 'cargo'], p=[0.45, 0.2, 0.2, 0.15]))
        placed = world.put(ships.ship, *point, rng.uniform(-math.pi, math.pi), world.scale, size, margin=4.0)
        if placed is not None and world.chance(0.55):
            wake(world, placed, rng.uniform(0.5, 1.0))


def harbour(world: World) -> None:
    """A basin with a quay, and either pontoons for boats or berths for ships."""
    rng, reach = world.rng, world.reach
    frame = Frame(rng.uniform(-15, 15), rng.uniform(-10, 10), 0.0)
    world.ground('water')
    marina = world.chance(0.6)
    quay = -rng.uniform(0.30, 0.62) * reach if marina else -rng.uniform(0.10, 0.40) * reach
    long = 3 * reach
    paving = 'concrete' if world.chance(0.6) else 'asphalt'
    land = frame.area(-long, long, -long, quay)
    world.darken(land + world.view.shadow * 2.2, 0.5)
    world.darken(frame.area(-long, long, quay, quay + 0.7), 0.45)
    world.cover(paving, land, 0.0, 0.0)
    world.cover('concrete', frame.area(-long, long, quay - 1.6, quay), 0.0, 0.0, 1.08)
    repairs(world, Frame(*frame.at(0, quay - 20), 0.0), 2 * reach, 40, 24)
    if marina:
        _pontoons(world, frame, quay)
    else:
        _berths(world, frame, quay)
    _waterfront(world, frame, quay, marina)
    for _ in range(int(3 * world.config.density)):
        point = frame.at(rng.uniform(-1, 1) * reach, rng.uniform(quay + 15, max(reach, quay + 20)))
        size = 'boat' if marina or rng.random() < 0.5 else 'work'
        placed = world.put(ships.ship, *point, rng.uniform(-math.pi, math.pi), world.scale, size, margin=3.0)
        if placed is not None and world.chance(0.7):
            wake(world, placed, rng.uniform(0.4, 0.9))


def _pontoons(world: World, frame: Frame, quay: float) -> None:
    """Pontoons out from the quay with fingers, boats moored bow or stern to them."""
    rng = world.rng
    big = rng.uniform(8.5, 15.0)
    aisle = 2 * big + rng.uniform(9, 14)
    x = -world.reach - rng.uniform(0, aisle)
    while x < world.reach + 15:
        length = rng.uniform(35, 75)
        _plank(world, frame, x - 1.1, x + 1.1, quay - 0.5, quay + length)
        for side in (-1, 1):
            y = quay + 7.0
            size = big * rng.uniform(0.7, 1.0)
            while y < quay + length - 2:
                pitch = size * 0.33 + rng.uniform(0.9, 1.5)
                if world.chance(0.5):
                    _plank(
                        world,
                        frame,
                        *sorted((x + side * 1.1, x + side * (1.1 + size * 0.7))),
                        y - pitch / 2 - 0.22,
                        y - pitch / 2 + 0.22,
                    )
                if world.fills(0.8) and world.near(*frame.at(x, y), 2.2 * size):
                    _moor(world, frame, x, y, side, size)
                y += pitch
        x += aisle


def _moor(world: World, frame: Frame, x: float, y: float, side: int, size: float) -> None:
    """One boat beside a pontoon."""
    rng = world.rng
    length = size * rng.uniform(0.72, 1.0)
    outward = 0.0 if side > 0 else math.pi
    heading = outward + (math.pi if rng.random() < 0.45 else 0.0) + rng.normal(0, 0.03)
    make = ships.yacht if rng.random() < 0.45 and length > 7.5 else ships.motorboat
    point = frame.at(x + side * (1.5 + length * world.scale / 2 + rng.uniform(0, 0.4)), y)
    world.put(make, *point, heading, world.scale, length, margin=0.05)


def _plank(world: World, frame: Frame, x1: float, x2: float, y1: float, y2: float) -> None:
    """A pontoon with its shadow on the water."""
    area = frame.area(x1, x2, y1, y2)
    world.darken(area + world.view.shadow * 0.9, 0.55)
    world.cover('concrete', area, 0.0, 0.0, 0.93)
    world.claim(area)


def _berths(world: World, frame: Frame, quay: float) -> None:
    """Ships alongside a cargo quay with cranes, and a pier with smaller ones."""
    rng, reach = world.rng, world.reach
    x = -reach - rng.uniform(-10, 30)
    while x < reach:
        size = 'cargo' if world.chance(0.6) else 'work'
        length = rng.uniform(48, 95) if size == 'cargo' else rng.uniform(18, 34)
        make = ships.cargo if size == 'cargo' else ships.workboat
        if world.fills(0.8):
            half = length * (0.12 if size == 'cargo' else 0.15)
            point = frame.at(x + length / 2, quay + 1.6 + half)
            placed = world.put(
                make, *point, math.pi * rng.integers(2) + rng.normal(0, 0.006), world.scale, length, margin=0.3
            )
            if placed is not None and size == 'cargo' and world.chance(0.45):
                world.put(clutter.crane, *frame.at(x + length * rng.uniform(0.3, 0.7), quay - 6), math.pi / 2)
        x += length + rng.uniform(6, 16)
    if world.chance(0.6):
        pier = rng.uniform(-0.5, 0.5) * reach
        top = quay + 32
        _plank(world, frame, pier - 4, pier + 4, top, 3 * reach)
        for side in (-1, 1):
            y = top + rng.uniform(5, 20)
            while y < reach + 20:
                length = rng.uniform(14, 32)
                if world.fills(0.7):
                    point = frame.at(pier + side * (5.2 + length * 0.16), y + length / 2)
                    world.put(
                        ships.workboat, *point, math.pi / 2 * rng.choice([-1, 1]), world.scale, length, margin=0.2
                    )
                y += length + rng.uniform(4, 10)


def _waterfront(world: World, frame: Frame, quay: float, marina: bool) -> None:
    """What stands on the quay: sheds, containers, parked cars, a road and trees behind."""
    rng, reach = world.rng, world.reach
    road(world, Frame(*frame.at(0, quay - 34), 0.0), reach + 40, 2, 40.0, 0.2)
    x = -reach - rng.uniform(0, 20)
    while x < reach:
        pick = rng.random()
        if pick < 0.35:
            count = int(rng.integers(8, 18))
            stalls(world, Frame(*frame.at(x + count * 2.62, quay - 18), math.pi), count, 0.7)
            x += count * 2.62 + 4
        elif pick < 0.7 or marina:
            length = rng.uniform(14, 34)
            block(world, *frame.at(x + length / 2, quay - 21), 0.0, length, rng.uniform(9, 13))
            x += length + 5
        else:
            for column in range(2):
                for row in range(4):
                    if world.fills(0.85):
                        point = frame.at(x + 6.4 + column * 12.8, quay - 26 + row * 2.8)
                        world.put(clutter.container, *point, 0.0, True, margin=0.0)
            x += 30
    for _ in range(6):
        make = vehicles.car if marina or rng.random() < 0.4 else vehicles.truck
        point = frame.at(rng.uniform(-1, 1) * reach, quay - rng.uniform(4, 12))
        world.put(make, *point, math.pi * rng.integers(2) + rng.normal(0, 0.05), world.scale, margin=0.5)
    yard_clutter(world, Frame(*frame.at(0, quay - 10), 0.0), 2 * reach, 18, 16)
    world.cover('grass', frame.area(-3 * reach, 3 * reach, -3 * reach, quay - 41), 0.8)
    fabric(world, frame, -reach - 20, reach + 20, -2 * reach, quay - 41)
    grove(world, (world.x1, world.x2, world.y1, frame.y + quay - 42), 40)

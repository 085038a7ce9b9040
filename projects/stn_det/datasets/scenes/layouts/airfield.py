"""Aprons and taxiways with parked aeroplanes."""

from __future__ import annotations

import math

import numpy as np

from stn_det.datasets.scenes.layouts.common import Frame, block, fabric, grove, repairs, stalls, yard_clutter
from stn_det.datasets.scenes.shapes import box
from stn_det.datasets.scenes.sprites import planes, vehicles
from stn_det.datasets.scenes.world import World


def airfield(world: World) -> None:
    """A taxiway, an apron with stands for one size of aeroplane, hangars or a terminal behind it."""
    rng, reach = world.rng, world.reach
    world.ground(str(rng.choice(['grass', 'mown'])))
    frame = Frame(rng.uniform(-15, 15), rng.uniform(-10, 10), 0.0)
    size = str(rng.choice(['light', 'business', 'airliner'], p=[0.42, 0.28, 0.30]))
    pitch = {'light': 14.5, 'business': 24.0, 'airliner': 45.0}[size]
    depth = {'light': 15.0, 'business': 26.0, 'airliner': 48.0}[size]
    rows = {'light': 3, 'business': 2, 'airliner': 1}[size]
    paving = str(rng.choice(['concrete', 'asphalt'], p=[0.65, 0.35]))
    south = rng.uniform(16, 28)
    apron_top = south - rows * (depth + 14.0) - (6 if size != 'airliner' else 2)
    long = 3 * reach
    world.cover(paving, frame.area(-long, long, apron_top - 46, south), 0.0, 0.0)
    taxi = 'asphalt' if world.chance(0.6) else paving
    world.cover(taxi, frame.area(-long, long, south, south + 18), 0.0, 0.0, rng.uniform(0.86, 1.0))
    world.claim(frame.area(-long, long, south, south + 18))
    repairs(world, Frame(*frame.at(0, (apron_top + south) / 2), 0.0), 2 * reach, south - apron_top, 55)
    _taxiway(world, frame, south + 9, long)
    if world.chance(0.6):
        at = rng.uniform(-0.7, 0.7) * reach
        world.cover(taxi, frame.area(at - 8, at + 8, south + 18, 3 * reach), 0.0, 0.0)
        world.line(frame.at(at, south + 9), frame.at(at, 3 * reach), 0.22, 'yellow')
    facing = rng.choice([-1, 1])
    for row in range(rows):
        y = south - 8 - (row + 0.5) * (depth + 14.0) + 6
        _stands(world, frame, y, pitch, depth, size, facing if rows == 1 or row % 2 == 0 else -facing, long)
    x = -reach - rng.uniform(0, 15)
    while x < reach:
        length = rng.uniform(18, 34) if size != 'airliner' else rng.uniform(40, 70)
        block(world, *frame.at(x + length / 2, apron_top - 32), 0.0, length, rng.uniform(16, 24), 'any')
        x += length + rng.uniform(4, 18)
    world.cover('asphalt', frame.area(-long, long, apron_top - 74, apron_top - 47), 0.0, 0.0)
    for x in np.arange(-reach, reach, 40):
        stalls(world, Frame(*frame.at(x, apron_top - 53), 0.0), 12, 0.65)
    _service(world, frame, apron_top, south)
    yard_clutter(world, Frame(*frame.at(0, apron_top - 8), 0.0), 2 * reach, 16, 10)
    fabric(world, frame, -reach - 20, reach + 20, -2 * reach, apron_top - 76)
    grove(world, (world.x1, world.x2, frame.y + south + 30, world.y2), 10)


def _taxiway(world: World, frame: Frame, y: float, long: float) -> None:
    """Yellow centre line and double edge lines, with rubber marks."""
    world.line(frame.at(-long, y), frame.at(long, y), 0.22, 'yellow')
    for offset in (-8.3, -7.9, 7.9, 8.3):
        world.line(frame.at(-long, y + offset), frame.at(long, y + offset), 0.16, 'yellow')
    for offset in (-1.5, 1.5):
        world.stain(frame.area(-long, long, y + offset - 0.5, y + offset + 0.5), -0.16)


def _stands(
    world: World, frame: Frame, y: float, pitch: float, depth: float, size: str, facing: int, long: float
) -> None:
    """One row of stands with lead-in lines, most of them taken."""
    rng = world.rng
    slant = rng.choice([0.0, 0.0, math.radians(35)]) if size != 'airliner' else 0.0
    start = rng.uniform(0, pitch)
    world.line(
        frame.at(-long, y - facing * (depth / 2 + 3)), frame.at(long, y - facing * (depth / 2 + 3)), 0.2, 'yellow'
    )
    for x in np.arange(-world.reach - 20 + start, world.reach + 20, pitch):
        heading = facing * math.pi / 2 + slant
        tail = frame.at(x, y) - np.array([math.cos(heading), math.sin(heading)]) * (depth / 2 + 3)
        world.line(frame.at(x, y), tail, 0.18, 'yellow')
        world.stain(box(*frame.at(x, y), 3.0, 4.0), -0.3)
        if world.fills(0.78):
            turn = heading + rng.normal(0, 0.03) + (math.pi if size == 'light' and rng.random() < 0.15 else 0.0)
            point = frame.at(x + rng.normal(0, 0.4), y + rng.normal(0, 0.6))
            world.put(planes.plane, *point, turn, world.scale, size, margin=0.6)


def _service(world: World, frame: Frame, top: float, bottom: float) -> None:
    """Cars, tankers and buses on the apron."""
    rng = world.rng
    for _ in range(int(10 * world.config.density)):
        make = vehicles.car if rng.random() < 0.6 else vehicles.truck
        point = frame.at(rng.uniform(-1, 1) * world.reach, rng.uniform(top - 10, bottom))
        heading = rng.integers(4) * math.pi / 2 + rng.normal(0, 0.12)
        world.put(make, *point, heading, world.scale, margin=0.8)

"""Housing estates and farmland."""

from __future__ import annotations

import math

import numpy as np

from stn_det.datasets.scenes.layouts.common import Frame, blob, block, grove, hedge, path, road, tree_row, woods
from stn_det.datasets.scenes.layouts.industry import tank_heading
from stn_det.datasets.scenes.sprites import buildings, clutter, courts, tanks, vehicles
from stn_det.datasets.scenes.world import World


def residential(world: World) -> None:
    """Streets with houses, drives, gardens, pools and parked cars."""
    rng, reach = world.rng, world.reach
    world.ground('grass')
    frame = Frame(rng.uniform(-15, 15), rng.uniform(-15, 15), 0.0)
    spacing = rng.uniform(56, 66)
    for index in range(-3, 4):
        y = index * spacing
        if abs(y) > reach + 30:
            continue
        half = road(world, Frame(*frame.at(0, y), 0.0), reach + 40, 2, 60.0, 0.05)
        for side in (-1, 1):
            _plots(world, frame, y, side, half)
            tree_row(
                world, frame.at(-reach, y + side * (half + 3.2)), frame.at(reach, y + side * (half + 3.2)), 14, 2.2
            )
    grove(world, (world.x1, world.x2, world.y1, world.y2), 110, 1.2, 3.6)


def _plots(world: World, frame: Frame, y: float, side: int, half: float) -> None:
    """House plots along one side of a street."""
    rng = world.rng
    x = -world.reach - 10
    while x < world.reach + 10:
        width = rng.uniform(17, 24)
        centre, front = x + width / 2, y + side * (half + 2)
        if not world.near(*frame.at(centre, y + side * 18), 34.0):
            x += width
            continue
        if world.chance(0.06):
            heading = math.pi / 2
            point = frame.at(centre, y + side * (half + 22))
            if world.is_free(*point, 36, 17, heading):
                surface = courts.SURFACES[rng.integers(len(courts.SURFACES))]
                world.pad(Frame(*point, heading).area(-17, 17, -8, 8), surface[1], 'court')
                world.put(courts.court, *point, heading, world.scale, surface)
                x += width
                continue
        drive = x + width - 4.0
        world.cover('concrete', frame.area(drive - 1.6, drive + 1.6, *sorted((front, front + side * 13))), 0.0, 0.0)
        if world.fills(0.55):
            turn = math.pi / 2 * rng.choice([-1, 1]) + rng.normal(0, 0.04)
            world.put(vehicles.car, *frame.at(drive, front + side * rng.uniform(3.5, 9)), turn, world.scale, margin=0.1)
        size = rng.uniform(10.5, 14), rng.uniform(8, 10)
        world.put(
            buildings.house,
            *frame.at(centre - 1.5, front + side * (8 + size[1] / 2)),
            rng.choice([0.0, math.pi / 2], p=[0.8, 0.2]),
            *size,
            margin=0.3,
        )
        garden = front + side * 24
        if world.chance(0.22):
            world.put(clutter.pool, *frame.at(centre, garden), rng.integers(2) * math.pi / 2, margin=0.5)
        if world.chance(0.4):
            world.put(
                clutter.shed,
                *frame.at(x + 4, front + side * rng.uniform(23, 27)),
                rng.integers(2) * math.pi / 2,
                margin=0.3,
            )
        if world.chance(0.7):
            edge = sorted((front + side * 5, front + side * 28))
            hedge(world, frame.at(x + 0.3, edge[0]), frame.at(x + 0.3, edge[1]), 0.75)
        if world.chance(0.35):
            world.cover(
                'mown', frame.area(x + 1.5, x + width - 6, *sorted((front + side * 20, front + side * 28))), 0.5
            )
        if world.fills(0.3):
            lane = y + side * (half - 1.3)
            world.put(
                vehicles.car,
                *frame.at(x + rng.uniform(2, 8), lane),
                0.0 if side > 0 else math.pi,
                world.scale,
                margin=0.2,
            )
        x += width


def rural(world: World) -> None:
    """Fields with furrows, a country road, a farm with silos, woods and a pond."""
    rng, reach = world.rng, world.reach
    world.ground('grass')
    frame = Frame(rng.uniform(-20, 20), rng.uniform(-20, 20), 0.0)
    road_x, road_y = rng.uniform(-0.4, 0.4) * reach, rng.uniform(-0.4, 0.4) * reach
    for sign_x in (-1, 1):
        for sign_y in (-1, 1):
            _fields(world, frame, road_x, road_y, sign_x, sign_y)
    road(world, Frame(*frame.at(0, road_y), 0.0), reach + 60, 2, 32.0, 0.35, kerb=False)
    track = np.stack([np.full(24, road_x) + rng.normal(0, 0.5, 24), np.linspace(-2 * reach, 2 * reach, 24)], axis=1)
    path(world, track + np.array([frame.x, frame.y]), 3.4, 'soil', 0.4)
    tree_row(world, frame.at(-reach, road_y + 7), frame.at(reach, road_y + 7), 13, 3.2)
    _farm(world, frame, road_x + 28 * rng.choice([-1, 1]), road_y + rng.choice([-1, 1]) * 28)
    if world.chance(0.7):
        woods(world, blob(rng, *rng.uniform((world.x1, world.y1), (world.x2, world.y2)), rng.uniform(20, 34), 0.3))
    if world.chance(0.5):
        point = rng.uniform((world.x1, world.y1), (world.x2, world.y2))
        outline = blob(rng, *point, rng.uniform(7, 13), 0.25)
        if world.is_free(*point, 20, 20):
            world.cover('soil', outline * 1.0 + (outline - outline.mean(axis=0)) * 0.15, 0.6)
            world.cover('water', outline, 0.4)
            world.claim(outline)
    grove(world, (world.x1, world.x2, world.y1, world.y2), 14)


def _fields(world: World, frame: Frame, x: float, y: float, sign_x: int, sign_y: int) -> None:
    """Strips of fields in one quarter of the land."""
    rng, reach = world.rng, world.reach
    at = x + sign_x * 3.5
    while abs(at - x) < 2 * reach:
        width = rng.uniform(28, 70)
        x1, x2 = sorted((at, at + sign_x * (width - 2.5)))
        y1, y2 = sorted((y + sign_y * 9, y + sign_y * 3 * reach))
        kind = str(rng.choice(['crop', 'plough', 'soil', 'mown'], p=[0.5, 0.3, 0.1, 0.1]))
        world.cover(kind, frame.area(x1, x2, y1, y2), 0.5, math.pi / 2 + rng.normal(0, 0.01), rng.uniform(0.85, 1.1))
        at += sign_x * width


def _farm(world: World, frame: Frame, x: float, y: float) -> None:
    """A farmyard: barns, a house, silos, vehicles."""
    rng = world.rng
    yard = frame.area(x - 24, x + 24, y - 18, y + 18)
    if not world.is_free(*frame.at(x, y), 48, 36):
        return
    world.cover('dirt-pad', yard, 0.8)
    block(world, *frame.at(x - 9, y - 9), 0.0, rng.uniform(20, 28), rng.uniform(10, 14), 'hall')
    world.put(buildings.house, *frame.at(x + 16, y + 11), 0.0, 12, 9, margin=0.5)
    for index in range(int(rng.integers(1, 5))):
        point = frame.at(x + 9 + 7.5 * (index % 2), y - 13 + 7.5 * (index // 2))
        if world.chance(0.6):
            world.put(tanks.tank, *point, tank_heading(world), world.scale, 3.3, margin=0.2)
    for _ in range(7):
        make = (vehicles.car, vehicles.truck, clutter.pallets, clutter.shed)[
            int(rng.choice(4, p=[0.4, 0.25, 0.25, 0.1]))
        ]
        args = (world.scale,) if make in (vehicles.car, vehicles.truck) else ()
        world.put(
            make,
            *frame.at(x + rng.uniform(-20, 20), y + rng.uniform(-2, 15)),
            rng.uniform(-3.1, 3.1),
            *args,
            margin=0.7,
        )

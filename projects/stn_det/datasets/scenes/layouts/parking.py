"""Car parks beside shops and offices."""

from __future__ import annotations

import math

from stn_det.datasets.scenes.layouts.common import (
    Frame,
    blob,
    block,
    fabric,
    grove,
    hedge,
    repairs,
    road,
    stalls,
    traffic,
    woods,
    yard_clutter,
)
from stn_det.datasets.scenes.sprites import clutter, vehicles
from stn_det.datasets.scenes.world import World


def parking(world: World) -> None:
    """Rows of stalls with islands, a road on one side, buildings on the other, trees around."""
    rng, reach = world.rng, world.reach
    frame = Frame(rng.uniform(-15, 15), rng.uniform(-15, 15), 0.0)
    world.ground('grass')
    grass_x, grass_y = rng.uniform(38, 60), rng.uniform(30, 46)
    if world.chance(0.5):
        woods(world, blob(rng, *frame.at(-grass_x - 55, rng.uniform(-40, 40)), 48, 0.2, 1.3))
    if world.chance(0.4):
        woods(world, blob(rng, *frame.at(rng.uniform(-30, 30), -grass_y - 62), 42, 0.2, 1.6))
    road_at = grass_y + 12
    half = road(world, Frame(*frame.at(0, road_at), 0.0), reach + 40, int(rng.choice([2, 4])), 40.0)
    world.cover('asphalt', frame.area(-grass_x, grass_x, -grass_y, grass_y))
    lot = frame.area(-grass_x, grass_x, -grass_y, grass_y)
    for y in (-grass_y, grass_y):
        world.line(frame.at(-grass_x, y), frame.at(grass_x, y), 0.28)
    entry = rng.uniform(-0.6, 0.6) * grass_x
    world.cover('asphalt', frame.area(entry - 4, entry + 4, grass_y - 1, road_at - half + 0.5))
    repairs(world, frame, 2 * grass_x, 2 * grass_y, 26)
    filled = rng.uniform(0.45, 0.95)
    shop = world.chance(0.6)
    top = -grass_y + (rng.uniform(17, 26) if shop else 1.0)
    if shop:
        x = -grass_x + 3
        while x < grass_x - 12:
            length = min(rng.uniform(22, 46), grass_x - 2 - x)
            block(world, *frame.at(x + length / 2, (-grass_y + top - 6) / 2), 0.0, length, top - 7 + grass_y, 'flat')
            x += length + rng.uniform(1.2, 6)
    _rows(world, frame, grass_x, top, grass_y, filled)
    yard_clutter(world, frame, 2 * grass_x, 2 * grass_y, 10)
    world.claim(lot)
    fabric(world, frame, -reach, reach, road_at + half + 4, reach + 20)
    fabric(world, frame, -reach - 20, -grass_x - 4, -reach, road_at - half - 4)
    fabric(world, frame, grass_x + 4, reach + 20, -reach, road_at - half - 4)
    fabric(world, frame, -reach, reach, -reach - 20, -grass_y - 3)
    grove(world, (world.x1, world.x2, world.y1, world.y2), 45)
    if world.chance(0.7):
        hedge(world, frame.at(-grass_x, grass_y + 2.2), frame.at(entry - 7, grass_y + 2.2))


def _rows(world: World, frame: Frame, half_x: float, top: float, bottom: float, filled: float) -> None:
    """Double rows of stalls with driving aisles, islands with trees, and a few cars on the move."""
    rng = world.rng
    angle = math.pi / 2 if world.chance(0.7) else math.radians(60)
    y = top + 1.0
    big = world.chance(0.18)
    while y + 17.5 < bottom:
        count = int((2 * half_x - 14) / (2.62 / math.sin(angle)))
        left = -half_x + 6
        stalls(world, Frame(*frame.at(left, y + 5.3 + 6.4), frame.heading), count, filled, angle)
        stalls(
            world,
            Frame(*frame.at(left + count * 2.62 / math.sin(angle), y + 5.3), frame.heading + math.pi),
            count,
            filled,
            angle,
        )
        if world.chance(0.6):
            for x in (left - 2.4, left + count * 2.62 / math.sin(angle) + 2.4):
                world.cover('grass', frame.area(x - 1.6, x + 1.6, y + 12.0, y + 16.6), 0.0)
                if world.chance(0.6):
                    world.tree(*frame.at(x, y + 14), rng.uniform(1.4, 2.6))
        traffic(world, Frame(*frame.at(0, y + 8.5), frame.heading), 2 * half_x, (1.4,), 45.0, 0.0)
        if world.chance(0.5):
            world.put(clutter.lamp_post, *frame.at(rng.uniform(-0.7, 0.7) * half_x, y + 11.6), rng.uniform(0, 6.28))
        y += 17.0
    if big and y + 8 < bottom:
        world.put(vehicles.truck, *frame.at(rng.uniform(-0.5, 0.5) * half_x, y + 5), 0.0, world.scale, margin=0.5)

"""Tennis clubs and parks."""

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
    hedge,
    path,
    road,
    stalls,
    tree_row,
    woods,
)
from stn_det.datasets.scenes.shapes import strip
from stn_det.datasets.scenes.sprites import clutter, courts
from stn_det.datasets.scenes.world import World


def sports(world: World) -> None:
    """Banks of tennis courts in a park, with a club house, car park, pitch, pond and paths."""
    rng, reach = world.rng, world.reach
    world.ground('grass' if world.chance(0.5) else 'mown')
    frame = Frame(rng.uniform(-12, 12), rng.uniform(-12, 12), 0.0)
    if world.chance(0.6):
        woods(world, blob(rng, *frame.at(-reach * 0.95, rng.uniform(-1, 1) * reach), 34, 0.25, 1.6))
    road_y = reach * rng.uniform(0.62, 0.9)
    road(world, Frame(*frame.at(0, road_y), 0.0), reach + 40, 2, 35.0)
    tree_row(world, frame.at(-reach, road_y - 8), frame.at(reach, road_y - 8))
    upright = world.chance(0.5)
    for _ in range(int(rng.integers(6, 14))):
        centre = frame.at(rng.uniform(-0.6, 0.6) * reach, rng.uniform(-0.75, 0.55) * reach)
        _bank(world, *centre, math.pi / 2 if upright else 0.0, int(rng.integers(1, 5)))
    _surroundings(world, frame, road_y)
    fabric(world, frame, -reach - 20, reach + 20, road_y + 10, road_y + 60)
    grove(world, (world.x1, world.x2, world.y1, world.y2), 70)


def _bank(world: World, x: float, y: float, heading: float, count: int) -> None:
    """Courts side by side on one paved surface behind a fence."""
    rng = world.rng
    pitch = 16.5 * world.scale + rng.uniform(0, 2)
    width, length = count * pitch + 3.0, 36.0 * world.scale
    if not world.is_free(x, y, length + 2, width + 2, heading):
        return
    surface = courts.SURFACES[rng.integers(len(courts.SURFACES))]
    frame = Frame(x, y, heading)
    area = frame.area(-length / 2, length / 2, -width / 2, width / 2)
    surround = tuple(int(value * rng.uniform(0.94, 1.04)) for value in surface[1])
    world.pad(area, surround, 'court')
    closed = np.concatenate([area, area[:1]])
    for start, end in pairwise(closed):
        world.stain(strip(start + world.view.shadow * 1.6, end + world.view.shadow * 1.6, 2.0), -0.22)
        world.stain(strip(start, end, 0.25), -0.8)
    for index in range(count):
        if world.fills(1.2):
            point = frame.at(0.0, (index - (count - 1) / 2) * pitch)
            world.put(courts.court, *point, heading + (math.pi if rng.random() < 0.5 else 0), world.scale, surface)
    world.claim(area)


def _surroundings(world: World, frame: Frame, road_y: float) -> None:
    """Club house, car park, playground, fountain, paths and a playing field."""
    rng, reach = world.rng, world.reach
    x = rng.uniform(-0.7, 0.7) * reach
    if world.is_free(*frame.at(x, road_y - 22), 40, 20):
        area = frame.area(x - 20, x + 20, road_y - 31, road_y - 11)
        world.cover('asphalt', area)
        stalls(world, Frame(*frame.at(x - 17, road_y - 17.5), 0.0), 13, 0.75)
        stalls(world, Frame(*frame.at(x + 17, road_y - 24.5), math.pi), 13, 0.75)
        world.claim(area)
    for _ in range(3):
        point = rng.uniform((world.x1, world.y1), (world.x2, world.y2))
        block(world, *point, 0.0, rng.uniform(12, 22), rng.uniform(8, 12), 'flat')
    for _ in range(2):
        point = rng.uniform((world.x1, world.y1), (world.x2, world.y2))
        world.put(clutter.pond, *point, 0.0, rng.uniform(3, 8), margin=3.0)
        point = rng.uniform((world.x1, world.y1), (world.x2, world.y2))
        world.put(clutter.pool, *point, rng.integers(2) * math.pi / 2, margin=2.0)
    if world.chance(0.5):
        _pitch(world, *rng.uniform((world.x1, world.y1), (world.x2, world.y2)))
    sweep = np.linspace(-1.2 * reach, 1.2 * reach, 30)
    bend = rng.uniform(-0.4, 0.4) * reach + 9 * np.sin(sweep / rng.uniform(18, 40))
    points = np.stack([sweep + frame.x, bend + frame.y], axis=1)
    keep = [world.is_free(px, py, 3, 3) for px, py in points]
    runs = np.split(np.arange(30), np.flatnonzero(np.diff(np.array(keep, int))) + 1)
    for run in runs:
        if keep[run[0]] and len(run) > 4:
            path(world, points[run], 2.2)
    hedge(world, frame.at(-reach, road_y - 11), frame.at(-0.4 * reach, road_y - 11))


def _pitch(world: World, x: float, y: float) -> None:
    """A small football pitch: lines on grass that resemble a court."""
    if not world.is_free(x, y, 48, 30):
        return
    frame = Frame(x, y, world.rng.integers(2) * math.pi / 2)
    world.cover('mown', frame.area(-23, 23, -14, 14), 0.2, frame.heading)
    for x1, x2, y1, y2 in ((-21, 21, -12.5, 12.5), (-21, -15, -6, 6), (15, 21, -6, 6)):
        corners = np.array([frame.at(x1, y1), frame.at(x2, y1), frame.at(x2, y2), frame.at(x1, y2), frame.at(x1, y1)])
        for start, end in pairwise(corners):
            world.line(start, end, 0.14)
    world.line(frame.at(0, -12.5), frame.at(0, 12.5), 0.14)
    world.claim(frame.area(-23, 23, -14, 14))

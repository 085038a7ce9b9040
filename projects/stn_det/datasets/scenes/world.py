"""The scene as a list of things to draw on the ground, filled by a layout and drawn by the rasteriser."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import cv2
import numpy as np

from stn_det.datasets.scenes.config import SceneConfig
from stn_det.datasets.scenes.shapes import Sprite, box, strip
from stn_det.datasets.scenes.view import View, rotation

# Metres within which a sprite and its shadow certainly stay; drawing is skipped further out.
_REACH = {
    'car': 12.0,
    'container': 20.0,
    'dumpster': 8.0,
    'house': 25.0,
    'lamp_post': 30.0,
    'motorboat': 22.0,
    'painted_box': 12.0,
    'pallets': 9.0,
    'plane': 50.0,
    'pond': 15.0,
    'pool': 12.0,
    'shed': 12.0,
    'tank': 60.0,
    'truck': 24.0,
    'yacht': 50.0,
}

_CELL = 0.5
"""Side of a cell of the occupancy grid in metres."""


@lru_cache(maxsize=256)
def _unit_grid(columns: int, rows: int) -> np.ndarray:
    """(columns * rows, 2) points spread evenly over [-0.5, 0.5] x [-0.5, 0.5], edges included."""
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, columns), np.linspace(-0.5, 0.5, rows))
    return np.stack([x.ravel(), y.ravel()], axis=1)


@dataclass(eq=False)
class Cover:
    """Land cover inside a ground outline (K, 2), or everywhere when the outline is None; ``soft`` metres of edge.

    A cover of the kind 'pad' has its own colour and material.
    """

    kind: str
    outline: np.ndarray | None
    soft: float = 0.0
    heading: float = 0.0
    shade: float = 1.0
    colour: tuple[int, int, int] | None = None
    material: str = ''


@dataclass(eq=False)
class Placed:
    """A sprite on the ground: all its outlines in one (P, 2) array with their sizes, and its solids; ground metres."""

    sprite: Sprite
    x: float
    y: float
    heading: float
    points: np.ndarray = field(repr=False)
    sizes: list[int] = field(repr=False)
    solids: list[tuple[np.ndarray, float, float]] = field(repr=False)

    @cached_property
    def corners(self) -> np.ndarray:
        """(4, 2) ground corners of the body, front-left first, clockwise."""
        return box(self.x, self.y, self.sprite.length, self.sprite.width, self.heading)


class World:
    """Everything on the ground of one scene.

    Args:
        rng: Source of random numbers of the layout.
        view: How the ground will be seen; things that cannot be in the image are not kept.
        config: Settings of the generator.
        scale: Factor on the size of labelled objects in this scene.
    """

    def __init__(self, rng: np.random.Generator, view: View, config: SceneConfig, scale: float = 1.0) -> None:
        self.rng, self.view, self.config, self.scale = rng, view, config, scale
        self.x1, self.y1, self.x2, self.y2 = view.ground_box()
        self.covers: list[Cover] = []
        self.marks: list[tuple[np.ndarray, str]] = []
        self.stains: list[tuple[np.ndarray, float]] = []
        self.placed: list[Placed] = []
        self.trees: list[tuple[float, float, float]] = []
        self.wakes: list[tuple[np.ndarray, float]] = []
        self._matrix = tuple(view.dst_from_ground[:2].ravel().tolist())
        self._turns: dict[str, float] = {}
        columns, rows = int((self.x2 - self.x1) / _CELL) + 2, int((self.y2 - self.y1) / _CELL) + 2
        self._taken = np.zeros((rows, columns), np.uint8)
        self._last = np.array([columns - 1, rows - 1], np.int32)

    @property
    def reach(self) -> float:
        """Half the longer side of the visible ground in metres."""
        return max(self.x2 - self.x1, self.y2 - self.y1) / 2

    def ground(self, kind: str, shade: float = 1.0, heading: float | None = None) -> None:
        """Cover all ground."""
        self.cover(kind, None, 0.0, heading, shade)

    def cover(
        self, kind: str, outline: np.ndarray | None, soft: float = 0.0, heading: float | None = None, shade: float = 1.0
    ) -> None:
        """Put a land cover over what is there; ``heading`` turns its texture,
        by default the same way for all covers of one kind."""
        if heading is None:
            if kind not in self._turns:
                self._turns[kind] = 0.0 if kind == 'concrete' else self.rng.uniform(-math.pi, math.pi)
            heading = self._turns[kind]
        self.covers.append(Cover(kind, outline, soft, heading, shade))

    def darken(self, outline: np.ndarray, amount: float) -> None:
        """Darken the covers laid so far inside an outline (K, 2), such as water under a pontoon's edge."""
        self.covers.append(Cover('shadow', outline, 0.0, 0.0, 1.0 - amount))

    def mark(self, outline: np.ndarray, paint: str = 'white') -> None:
        """Paint an outline (K, 2) on the ground, 'white' or 'yellow'."""
        self.marks.append((outline, paint))

    def line(self, start: Sequence[float], end: Sequence[float], width: float = 0.13, paint: str = 'white') -> None:
        """Paint a straight line where it may be seen."""
        x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        if self.near(x, y, math.hypot(end[0] - start[0], end[1] - start[1]) / 2 + width):
            self.mark(strip(start, end, width), paint)

    def dashes(
        self,
        start: Sequence[float],
        end: Sequence[float],
        on: float,
        off: float,
        width: float = 0.15,
        paint: str = 'white',
    ) -> None:
        """Paint a dashed line."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        length = float(np.hypot(*(end - start)))
        along = (end - start) / max(length, 1e-9)
        for at in np.arange(0.0, length, on + off):
            self.line(start + along * at, start + along * min(at + on, length), width, paint)

    def pad(self, outline: np.ndarray, colour: tuple[int, int, int], material: str) -> None:
        """Cover the ground inside an outline (K, 2) with a painted surface of a given colour."""
        self.covers.append(Cover('pad', outline, 0.0, self.rng.uniform(-math.pi, math.pi), 1.0, colour, material))

    def stain(self, outline: np.ndarray, amount: float) -> None:
        """Darken (negative) or lighten the ground inside an outline, softly; ``amount`` in [-1, 1]."""
        self.stains.append((outline, amount))

    def near(self, x: float, y: float, radius: float) -> bool:
        """Whether a disc on the ground may touch the image."""
        ax, bx, cx, ay, by, cy = self._matrix
        pixels = radius / self.view.gsd
        width, height = self.view.size
        return -pixels < ax * x + bx * y + cx < width + pixels and -pixels < ay * x + by * y + cy < height + pixels

    def _cells(self, outline: np.ndarray) -> np.ndarray:
        return np.round((outline - (self.x1, self.y1)) / _CELL).astype(np.int32)

    def claim(self, outline: np.ndarray) -> None:
        """Mark a convex outline on the ground as taken."""
        cv2.fillConvexPoly(self._taken, self._cells(outline), 1)

    def is_free(self, x: float, y: float, length: float, width: float, heading: float = 0.0) -> bool:
        """Whether a rectangle may be in sight and nothing has claimed it."""
        if not self.near(x, y, math.hypot(length, width) / 2):
            return False
        grid = _unit_grid(max(2, int(length) + 1), max(2, int(width) + 1))
        cos, sin = math.cos(heading) / _CELL, math.sin(heading) / _CELL
        linear = np.array([[cos * length, sin * length], [-sin * width, cos * width]])
        cells = (grid @ linear + ((x - self.x1) / _CELL + 0.5, (y - self.y1) / _CELL + 0.5)).astype(np.int32)
        # Ground outside the grid cannot be seen: treat its nearest cell as standing for it.
        cells = np.minimum(np.maximum(cells, 0), self._last)
        return not self._taken[cells[:, 1], cells[:, 0]].any()

    def open_ground(self, outline: np.ndarray) -> bool:
        """Whether next to nothing inside an outline (K, 2) has been claimed."""
        mask = np.zeros_like(self._taken)
        cv2.fillPoly(mask, [self._cells(outline)], 1)
        return int((mask & self._taken).sum()) <= 0.02 * int(mask.sum())

    def light(self, heading: float) -> np.ndarray:
        """(3,) direction to the sun in the frame of an object with this heading."""
        x, y, z = self.view.sun.tolist()
        cos, sin = math.cos(heading), math.sin(heading)
        return np.array([cos * x + sin * y, cos * y - sin * x, z])

    def put(
        self,
        make: Callable[..., Sprite],
        x: float,
        y: float,
        heading: float,
        *args: object,
        margin: float | None = None,
    ) -> Placed | None:
        """Draw and place a sprite where it can be seen.

        Args:
            make: Builder called as ``make(rng, light, *args)``.
            x, y: Centre on the ground in metres.
            heading: Direction of its front on the ground in radians.
            *args: Further arguments of the builder.
            margin: If given, place only when the body and this many metres around it are free.

        Returns:
            The placed sprite, or None if it is out of sight or there is no room.
        """
        if not self.near(x, y, _REACH.get(make.__name__, 90.0)):
            return None
        sprite = make(self.rng, self.light(heading), *args)
        if margin is not None and not self.is_free(
            x, y, sprite.length + 2 * margin, sprite.width + 2 * margin, heading
        ):
            return None
        if not self.near(x, y, math.hypot(sprite.length, sprite.width) / 2 + 3.0 * sprite.height):
            return None
        turn, centre = rotation(heading).T, np.array([x, y])
        sizes = [len(outline) for outline in sprite.outlines]
        points = np.concatenate([*sprite.outlines, *(solid[0] for solid in sprite.solids)]) @ turn + centre
        stop, solids = sum(sizes), []
        for outline, low, high in sprite.solids:
            start, stop = stop, stop + len(outline)
            solids.append((points[start:stop], low, high))
        placed = Placed(sprite, x, y, heading, points[: sum(sizes)], sizes, solids)
        self.placed.append(placed)
        self.claim(placed.corners)
        return placed

    def tree(self, x: float, y: float, radius: float) -> None:
        """Plant a tree."""
        if self.near(x, y, radius * 4):
            self.trees.append((x, y, radius))

    def chance(self, probability: float) -> bool:
        """Draw True with a probability."""
        return bool(self.rng.random() < probability)

    def fills(self, share: float) -> bool:
        """Draw True with a share that grows with the scene's density."""
        return self.chance(min(0.97, share * self.config.density))

"""Outlines in metres and the sprite that holds them: one object, drawn in its own frame (x forward, y right)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from stn_det.datasets.scenes.view import rotation

Colour = tuple[int, int, int]


def rectangle(x1: float, x2: float, y1: float, y2: float) -> np.ndarray:
    """(4, 2) corners of an upright rectangle."""
    return np.array([[x2, y1], [x2, y2], [x1, y2], [x1, y1]], float)


def box(x: float, y: float, length: float, width: float, heading: float = 0.0) -> np.ndarray:
    """(4, 2) corners front-left, front-right, back-right, back-left of a turned rectangle."""
    return rectangle(-length / 2, length / 2, -width / 2, width / 2) @ rotation(heading).T + (x, y)


@lru_cache(maxsize=64)
def _unit_circle(count: int) -> np.ndarray:
    angles = np.arange(count) * (2 * math.pi / count)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def ellipse(x: float, y: float, a: float, b: float, count: int = 20) -> np.ndarray:
    """(count, 2) points of an ellipse with half axes ``a`` along x and ``b`` along y."""
    return _unit_circle(count) * (a, b) + (x, y)


def rounded(x1: float, x2: float, y1: float, y2: float, front: float, back: float, steps: int = 4) -> np.ndarray:
    """Rectangle with corner radius ``front`` at x2 and ``back`` at x1."""
    quarter = np.linspace(0.0, math.pi / 2, steps)
    cos, sin = np.cos(quarter), np.sin(quarter)
    parts = [
        np.stack([x2 - front + front * sin, y1 + front - front * cos], axis=1),
        np.stack([x2 - front + front * cos, y2 - front + front * sin], axis=1),
        np.stack([x1 + back - back * sin, y2 - back + back * cos], axis=1),
        np.stack([x1 + back - back * cos, y1 + back - back * sin], axis=1),
    ]
    return np.concatenate(parts)


def strip(start: Sequence[float] | np.ndarray, end: Sequence[float] | np.ndarray, width: float) -> np.ndarray:
    """(4, 2) corners of a straight line of some width."""
    x1, y1, x2, y2 = float(start[0]), float(start[1]), float(end[0]), float(end[1])
    half = width / 2 / (math.hypot(x2 - x1, y2 - y1) or 1.0)
    nx, ny = (y1 - y2) * half, (x2 - x1) * half
    return np.array([[x1 + nx, y1 + ny], [x2 + nx, y2 + ny], [x2 - nx, y2 - ny], [x1 - nx, y1 - ny]])


def mirrored(points: np.ndarray) -> np.ndarray:
    """The outline on the other side of the x axis."""
    return points * (1.0, -1.0)


def tint(colour: Colour, factor: float) -> Colour:
    """The colour made lighter or darker by a factor."""
    red, green, blue = colour
    return (
        min(255, int(red * factor + 0.5)),
        min(255, int(green * factor + 0.5)),
        min(255, int(blue * factor + 0.5)),
    )


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """Mixture of two colours, ``share`` of the second."""
    rest = 1.0 - share
    return (
        int(first[0] * rest + second[0] * share + 0.5),
        int(first[1] * rest + second[1] * share + 0.5),
        int(first[2] * rest + second[2] * share + 0.5),
    )


@dataclass
class Sprite:
    """One object in its own frame: filled outlines in drawing order, and the solids that throw its shadow.

    Args:
        label: Class name, or None for clutter.
        length, width: Size of the body's box in metres, along x (forward) and y (right), centred on the origin.
        height: Height of the body in metres; tall sprites are drawn after low ones.
        tall: Whether its shadow falls on low sprites and it is drawn above them.
    """

    label: str | None
    length: float
    width: float
    height: float = 1.5
    tall: bool = False
    outlines: list[np.ndarray] = field(default_factory=list)
    colours: list[Colour] = field(default_factory=list)
    materials: list[str] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)
    solids: list[tuple[np.ndarray, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Tall clutter is displaced by an oblique view, so it keeps a height for each of its points."""
        self.lifted = self.tall and self.label is None

    def add(self, points: np.ndarray, colour: Colour, material: str, height: float | np.ndarray = 0.0) -> None:
        """Append a filled outline (K, 2); ``height`` (one value or (K,)) lifts clutter under an oblique view."""
        self.outlines.append(points)
        self.colours.append(colour)
        self.materials.append(material)
        if self.lifted:
            self.heights.extend(height.tolist() if isinstance(height, np.ndarray) else [height] * len(points))

    def cast(self, points: np.ndarray, bottom: float, top: float) -> None:
        """Append a prism over the convex outline (K, 2) between two heights that throws a shadow."""
        self.solids.append((points, bottom, top))

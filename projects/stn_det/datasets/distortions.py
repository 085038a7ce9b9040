"""Families of distortions of an image about its centre, each with one number that says how strong it is."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zlib import crc32

import torch
from torch import Tensor

from stn_det.errors import InputError
from stn_det.geometry import rotation_matrix, scaling, translation

# Distance of the camera of 'perspective' in longer sides of the frame: a field of view of 37 degrees along that side,
# and no horizon inside of the frame below 90 degrees.
CAMERA_DISTANCE = 1.5


@dataclass(frozen=True)
class Distortion:
    """A family of distortions."""

    name: str
    title: str
    """Name and unit of the level, for tables and axes."""
    identity: float
    """The level that changes nothing."""
    levels: tuple[float, ...]
    """Levels that are measured by default."""
    limits: tuple[float, float]
    """Smallest and largest level."""
    core: Callable[[float, float], Tensor]
    """(3, 3) dst_from_src about the origin, from level and longer side in pixels; what has a direction acts along x."""
    directed: bool = False
    """Whether it acts along a direction, which is drawn for each image."""
    second_only: bool = False
    """Whether it moves the second image of a pair alone, and with it no box."""
    logarithmic: bool = False
    """Whether levels are factors, so that 0.5 and 2 are equally far from 1."""

    def matrix(self, level: float, size: tuple[int, int], direction: float = 0.0) -> Tensor:
        """Map of the frame onto itself.

        Convention:
            Continuous pixels, fixed point in the middle of the frame (a sensor shift has none).

        Args:
            level: strength.
            size: (width, height) of the frame in pixels.
            direction: radians, clockwise on screen from x.

        Returns:
            (3, 3) float64 dst_from_src, exactly the identity at :attr:`identity`.
        """
        if level == self.identity:
            return torch.eye(3, dtype=torch.float64)
        core = self.core(level, float(max(size)))
        if self.directed:
            core = rotation_matrix(direction) @ core @ rotation_matrix(-direction)
        x, y = size[0] / 2, size[1] / 2
        return translation(x, y) @ core @ translation(-x, -y)

    def check_levels(self, levels: Sequence[float]) -> tuple[float, ...]:
        """Levels in rising order, each once, with the identity among them.

        Raises:
            InputError: when one is outside of the limits or not a number.
        """
        low, high = self.limits
        for level in levels:
            if not low <= level <= high:
                raise InputError(f'level {level:g} of {self.name} is out of range; expected {low:g} to {high:g}.')
        return tuple(sorted({float(level) for level in (*levels, self.identity)}))


def drawn_direction(seed: int, name: str) -> float:
    """A direction in radians that belongs to an image: the same at every level and for every model.

    Args:
        seed: of the benchmark.
        name: of the image.
    """
    return 2 * math.pi * crc32(f'{seed}/{name}'.encode()) / 2**32


def _shear(level: float, side: float) -> Tensor:
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[0, 1] = level
    return matrix


def _perspective(degrees: float, side: float) -> Tensor:
    """Ground that leans back by an angle, seen by a camera above the middle of the frame.

    A point at u along the lean is u cos(a) beside the axis of the camera and u sin(a) farther away.
    """
    matrix = scaling(math.cos(math.radians(degrees)), 1.0)
    matrix[2, 0] = math.sin(math.radians(degrees)) / (CAMERA_DISTANCE * side)
    return matrix


_FAMILIES = (
    Distortion(
        name='rotation',
        title='rotation (degrees)',
        identity=0.0,
        levels=tuple(range(0, 181, 15)),
        limits=(-360.0, 360.0),
        core=lambda degrees, side: rotation_matrix(math.radians(degrees)),
    ),
    Distortion(
        name='scale',
        title='scale (factor)',
        identity=1.0,
        levels=(0.5, 0.63, 0.8, 1, 1.25, 1.6, 2),
        limits=(0.1, 10.0),
        core=lambda factor, side: scaling(factor, factor),
        logarithmic=True,
    ),
    Distortion(
        name='shear',
        title='shear (pixels per pixel)',
        identity=0.0,
        levels=(0, 0.1, 0.2, 0.3, 0.4, 0.5),
        limits=(-2.0, 2.0),
        core=_shear,
        directed=True,
    ),
    Distortion(
        name='obliquity',
        title='obliquity (degrees)',
        identity=0.0,
        levels=(0, 10, 20, 30, 40, 50, 60),
        limits=(0.0, 80.0),
        core=lambda degrees, side: scaling(math.cos(math.radians(degrees)), 1.0),
        directed=True,
    ),
    Distortion(
        name='perspective',
        title='obliquity, near camera (degrees)',
        identity=0.0,
        levels=(0, 10, 20, 30, 40, 50, 60),
        limits=(0.0, 80.0),
        core=_perspective,
        directed=True,
    ),
    Distortion(
        name='shift',
        title='sensor shift (pixels)',
        identity=0.0,
        levels=(0, 2, 4, 8, 16, 32),
        limits=(0.0, 256.0),
        core=lambda pixels, side: translation(pixels, 0.0),
        directed=True,
        second_only=True,
    ),
)
DISTORTIONS: dict[str, Distortion] = {family.name: family for family in _FAMILIES}

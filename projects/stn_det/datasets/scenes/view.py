"""How the ground is seen: scale, yaw, oblique line of sight and sun.

Convention: the ground is measured in metres with y down as on screen and its origin under the image centre. A matrix
maps source to destination points in continuous pixels. The camera is orthographic, so an obliquity of ``a`` shortens
the ground by ``cos(a)`` along the tilt direction and moves a point at height z by ``z * sin(a)`` along it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stn_det.datasets.scenes.config import SceneConfig


def compass(azimuth: float) -> np.ndarray:
    """Unit vector (2,) of an azimuth in degrees, clockwise from up (-y)."""
    angle = math.radians(azimuth)
    return np.array([math.sin(angle), -math.cos(angle)])


def rotation(angle: float) -> np.ndarray:
    """(2, 2) rotation by ``angle`` radians, clockwise on screen."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


@dataclass(frozen=True, eq=False)
class View:
    """One sensor's geometry.

    Args:
        size: Width and height in pixels.
        gsd: Metres per pixel across the line of sight.
        yaw, obliquity, tilt_azimuth: Degrees, as in ``SceneConfig``.
        sun_azimuth, sun_elevation: Degrees, as in ``SceneConfig``.
        dst_from_ground: (3, 3) ground metres to image pixels.
        relief: (2,) image pixels by which one metre of height moves a point.
    """

    size: tuple[int, int]
    gsd: float
    yaw: float
    obliquity: float
    tilt_azimuth: float
    sun_azimuth: float
    sun_elevation: float
    dst_from_ground: np.ndarray
    relief: np.ndarray

    @cached_property
    def shadow(self) -> np.ndarray:
        """(2,) ground metres by which one metre of height throws its shadow."""
        return -compass(self.sun_azimuth) / math.tan(math.radians(self.sun_elevation))

    @cached_property
    def sun(self) -> np.ndarray:
        """(3,) unit vector towards the sun: ground x, ground y, up."""
        elevation = math.radians(self.sun_elevation)
        return np.append(compass(self.sun_azimuth) * math.cos(elevation), math.sin(elevation))

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Map ground points (..., 2) in metres to image points (..., 2)."""
        return project(points, self.dst_from_ground)

    def ground_box(self) -> tuple[float, float, float, float]:
        """Smallest ground box (x1, y1, x2, y2) that holds everything in the image."""
        width, height = self.size
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
        ground = project(corners, np.linalg.inv(self.dst_from_ground))
        return (*ground.min(axis=0), *ground.max(axis=0))


def project(points: np.ndarray, dst_from_src: np.ndarray) -> np.ndarray:
    """Map points (..., 2) through a (3, 3) affine or projective matrix."""
    mapped = points @ dst_from_src[:2, :2].T + dst_from_src[:2, 2]
    row = dst_from_src[2]
    if row[0] != 0.0 or row[1] != 0.0 or row[2] != 1.0:
        mapped = mapped / (points @ row[:2] + row[2])[..., None]
    return mapped


def make_view(config: SceneConfig, rng: np.random.Generator) -> View:
    """Draw a view from the ranges of ``config``."""
    gsd, yaw = rng.uniform(*config.gsd), rng.uniform(*config.yaw)
    obliquity, tilt = rng.uniform(*config.obliquity), rng.uniform(*config.tilt_azimuth)
    azimuth, elevation = rng.uniform(*config.sun_azimuth), rng.uniform(*config.sun_elevation)
    along = compass(tilt)
    shorten = np.eye(2) - (1.0 - math.cos(math.radians(obliquity))) * np.outer(along, along)
    matrix = np.eye(3)
    matrix[:2, :2] = shorten @ rotation(math.radians(yaw)) / gsd
    matrix[:2, 2] = config.size[0] / 2, config.size[1] / 2
    relief = along * math.sin(math.radians(obliquity)) / gsd
    return View(config.size, gsd, yaw, obliquity, tilt, azimuth, elevation, matrix, relief)


def make_misalignment(config: SceneConfig, rng: np.random.Generator) -> np.ndarray:
    """Draw ``second_from_first`` (3, 3): scale, rotation and shift about the image centre, then perspective."""
    centre = np.array(config.size) / 2.0
    angle = math.radians(rng.uniform(*config.second_rotation))
    linear = rotation(angle) * rng.uniform(*config.second_scale)
    shift = rng.uniform(*config.second_shift, size=2)
    terms = rng.uniform(-1.0, 1.0, size=2) * config.second_perspective / np.array(config.size)
    moved = np.eye(3)
    moved[:2, :2] = linear
    moved[:2, 2] = shift
    tilted = np.eye(3)
    tilted[2, :2] = terms
    to_centre, back = np.eye(3), np.eye(3)
    to_centre[:2, 2], back[:2, 2] = -centre, centre
    matrix = back @ tilted @ moved @ to_centre
    return matrix / matrix[2, 2]


def make_second_view(view: View, second_from_first: np.ndarray) -> View:
    """The view of the second sensor: the first view followed by the misalignment."""
    matrix = second_from_first @ view.dst_from_ground
    relief = second_from_first[:2, :2] @ view.relief
    return View(
        view.size, view.gsd, view.yaw, view.obliquity, view.tilt_azimuth, view.sun_azimuth, view.sun_elevation,
        matrix / matrix[2, 2], relief,
    )  # fmt: skip

"""What a generated scene hands out: image, labelled objects and what is known about both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One labelled object.

    Args:
        label: Class name, one of ``CLASSES``.
        corners: (4, 2) float64 image points in continuous pixels: front-left, front-right, back-right, back-left of the
            object's body, so clockwise on screen, and the first edge is the object's front.
        difficult: 1 when less than 60 % of the body is inside the image or free of cover, else 0.
        heading: Direction of the object's front in the image in radians, clockwise on screen from +x, in [-pi, pi).
        visible: Share of the body that is inside the image and not covered by something else.
        ground: (4, 2) float64 corners on the ground in metres, in the same order.
    """

    label: str
    corners: np.ndarray
    difficult: int
    heading: float
    visible: float
    ground: np.ndarray


@dataclass(frozen=True, eq=False)
class SecondView:
    """The same ground seen by the second sensor.

    Args:
        image: (H, W, 3) uint8, three equal bands.
        objects: Labels in the second image's frame.
        second_from_first: (3, 3) matrix that maps points of the first image to the second.
    """

    image: np.ndarray
    objects: list[SceneObject]
    second_from_first: np.ndarray


@dataclass(frozen=True, eq=False)
class Scene:
    """A generated scene.

    Args:
        image: (H, W, 3) uint8 RGB.
        objects: The labelled objects.
        meta: JSON values: how the scene was made, how it is seen, and its objects on the ground.
        second: The second sensor's view, or None.
    """

    image: np.ndarray
    objects: list[SceneObject]
    meta: dict[str, Any]
    second: SecondView | None = None

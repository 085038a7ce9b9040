"""Labels of a view, and their DOTA text form."""

from __future__ import annotations

import math

import numpy as np

from stn_det.datasets.scenes.records import SceneObject
from stn_det.datasets.scenes.view import View
from stn_det.datasets.scenes.world import Placed

KEEP, CLEAR = 0.30, 0.60
"""An object is labelled from 30 % visible on, and not difficult from 60 % on."""

_STEPS = 13


def visible_share(corners: np.ndarray, covered: np.ndarray) -> float:
    """Share of a parallelogram that is inside the image and not covered.

    Args:
        corners: (4, 2) image points.
        covered: (H, W) bool, true where something hides the ground.
    """
    steps = (np.arange(_STEPS) + 0.5) / _STEPS
    across, along = corners[1] - corners[0], corners[3] - corners[0]
    points = corners[0] + steps[:, None, None] * across + steps[None, :, None] * along
    pixels = np.floor(points.reshape(-1, 2)).astype(int)
    height, width = covered.shape
    inside = (pixels[:, 0] >= 0) & (pixels[:, 0] < width) & (pixels[:, 1] >= 0) & (pixels[:, 1] < height)
    free = ~covered[pixels[inside, 1], pixels[inside, 0]]
    return float(free.sum() / len(pixels))


def front_heading(corners: np.ndarray) -> float:
    """Direction from the middle of the back to the middle of the front, in [-pi, pi)."""
    ahead = corners[0] + corners[1] - corners[2] - corners[3]
    angle = math.atan2(ahead[1], ahead[0])
    return -math.pi if angle >= math.pi else angle


def label_objects(placed: list[Placed], view: View, covered: np.ndarray) -> list[SceneObject]:
    """Label the sprites that a view shows well enough; see ``KEEP`` and ``CLEAR``."""
    objects = []
    for item in placed:
        if item.sprite.label is None:
            continue
        ground = item.corners
        corners = view.to_image(ground)
        share = visible_share(corners, covered)
        if share >= KEEP:
            difficult = int(share < CLEAR)
            objects.append(SceneObject(item.sprite.label, corners, difficult, front_heading(corners), share, ground))
    return objects


def to_dota_text(objects: list[SceneObject], gsd: float) -> str:
    """DOTA label file: two header lines, then one line of eight coordinates, class and difficulty per object."""
    lines = ['imagesource:synthetic', f'gsd:{gsd:.6f}']
    for item in objects:
        points = ' '.join(f'{value:.2f}' for value in item.corners.reshape(-1))
        lines.append(f'{points} {item.label} {item.difficult}')
    return '\n'.join(lines) + '\n'

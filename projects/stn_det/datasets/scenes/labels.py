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


def visible_shares(corners: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Share of each parallelogram that is inside the image and not covered.

    Args:
        corners: (N, 4, 2) image points.
        covered: (H, W) bool, true where something hides the ground.

    Returns:
        (N,) float64 in [0, 1], counted on a grid of 13 x 13 points.
    """
    steps = (np.arange(_STEPS) + 0.5) / _STEPS
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)  # (P, 2)
    sides = np.stack([corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0]], axis=1)  # (N, 2, 2)
    pixels = np.floor(corners[:, :1] + grid @ sides).astype(np.int64)  # (N, P, 2)
    height, width = covered.shape
    inside = ((pixels >= 0) & (pixels < (width, height))).all(axis=2)
    pixels = np.minimum(np.maximum(pixels, 0), (width - 1, height - 1))
    return (inside & ~covered[pixels[..., 1], pixels[..., 0]]).mean(axis=1)


def front_heading(corners: np.ndarray) -> float:
    """Direction from the middle of the back to the middle of the front, in [-pi, pi)."""
    ahead = corners[0] + corners[1] - corners[2] - corners[3]
    angle = math.atan2(ahead[1], ahead[0])
    return -math.pi if angle >= math.pi else angle


def label_objects(placed: list[Placed], view: View, covered: np.ndarray) -> list[SceneObject]:
    """Label the sprites that a view shows well enough; see ``KEEP`` and ``CLEAR``."""
    labelled = [item for item in placed if item.sprite.label is not None]
    if not labelled:
        return []
    grounds = np.stack([item.corners for item in labelled])
    corners = view.to_image(grounds)
    objects = []
    for item, ground, points, share in zip(labelled, grounds, corners, visible_shares(corners, covered).tolist()):
        if share >= KEEP:
            label, difficult = str(item.sprite.label), int(share < CLEAR)
            objects.append(SceneObject(label, points, difficult, front_heading(points), share, ground))
    return objects


def to_dota_text(objects: list[SceneObject], gsd: float) -> str:
    """DOTA label file: two header lines, then one line of eight coordinates, class and difficulty per object."""
    lines = ['imagesource:synthetic', f'gsd:{gsd:.6f}']
    for item in objects:
        points = ' '.join(f'{value:.2f}' for value in item.corners.reshape(-1))
        lines.append(f'{points} {item.label} {item.difficult}')
    return '\n'.join(lines) + '\n'

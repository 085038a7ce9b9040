"""Draws a world through a view: ground, paint, shadows and low things, then tall things and trees.

Outlines are filled at twice the resolution and averaged, which places edges to a small fraction of a pixel. OpenCV counts
pixel centres from 0, so half a pixel is taken off our continuous coordinates.
"""

from __future__ import annotations

import cv2
import numpy as np

from stn_det.datasets.scenes.appearance import Appearance
from stn_det.datasets.scenes.ground import paint_ground, sample_tile
from stn_det.datasets.scenes.shapes import Colour
from stn_det.datasets.scenes.trees import draw_crown, light_crowns
from stn_det.datasets.scenes.view import View
from stn_det.datasets.scenes.world import Placed, World

_FINE = 2
"""Samples per pixel along x and y."""

_SHIFT = 4
"""Fractional bits of OpenCV's coordinates."""


def to_fixed(points: np.ndarray, fine: int = _FINE) -> np.ndarray:
    """Image points to OpenCV's fixed-point coordinates on a grid ``fine`` times as dense."""
    return np.round((points * fine - 0.5) * (1 << _SHIFT)).astype(np.int32)


def fill_mask(shape: tuple[int, int], outlines: list[np.ndarray], values: list[int], fine: int = _FINE) -> np.ndarray:
    """Draw image outlines into a uint8 mask of ``shape`` (H, W), later ones over earlier ones."""
    mask = np.zeros((shape[0] * fine, shape[1] * fine), np.uint8)
    for points, value in zip(outlines, values):
        cv2.fillPoly(mask, [to_fixed(points, fine)], value, cv2.LINE_AA, _SHIFT)
    return cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_AREA) if fine > 1 else mask


def draw_outlines(image: np.ndarray, outlines: list[np.ndarray], colours: list[Colour]) -> np.ndarray:
    """Fill image outlines over ``image`` (H, W, 3) uint8, one after the other, with smooth edges."""
    if not outlines:
        return image
    height, width = image.shape[:2]
    fine = cv2.resize(image, (width * _FINE, height * _FINE), interpolation=cv2.INTER_NEAREST)
    sizes = np.cumsum([len(points) for points in outlines])[:-1]
    for points, colour in zip(np.split(to_fixed(np.concatenate(outlines)), sizes), colours):
        cv2.fillPoly(fine, [points], colour, cv2.LINE_AA, _SHIFT)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)


def sprite_outlines(placed: list[Placed], view: View) -> list[np.ndarray]:
    """Image outlines of every part of the placed sprites, lifted by their height under an oblique view."""
    ground = [points for item in placed for points in item.outlines]
    if not ground:
        return []
    mapped = view.to_image(np.concatenate(ground))
    lifts = [
        np.broadcast_to(height, len(points))
        for item in placed
        for points, height in zip(item.outlines, item.sprite.heights)
    ]
    mapped = mapped + np.concatenate(lifts)[:, None] * view.relief
    return np.split(mapped, np.cumsum([len(points) for points in ground])[:-1])


def shadow_outlines(placed: list[Placed], view: View) -> list[np.ndarray]:
    """Image outlines of the shadows: the hull of each solid's bottom and top moved along the sun's rays."""
    outlines = []
    for item in placed:
        for points, low, high in item.solids:
            swept = np.concatenate([points + view.shadow * low, points + view.shadow * high]).astype(np.float32)
            outlines.append(cv2.convexHull(swept)[:, 0].astype(np.float64))
    return [view.to_image(points) for points in outlines]


class Raster:
    """Draws one world as one sensor sees it.

    Args:
        world: What lies on the ground.
        view: The sensor's geometry.
        look: The sensor's colours.
        plain: Leave out texture, shadows, trees and everything else but the sprites' own outlines.
    """

    def __init__(self, world: World, view: View, look: Appearance, plain: bool = False) -> None:
        self.world, self.view, self.look, self.plain = world, view, look, plain
        self.shape = (view.size[1], view.size[0])

    def draw(self) -> np.ndarray:
        """Return the (H, W, 3) uint8 picture before the sensor's blur and noise."""
        low = [item for item in self.world.placed if not item.sprite.tall]
        tall = [item for item in self.world.placed if item.sprite.tall]
        if self.plain:
            image = np.zeros((*self.shape, 3), np.uint8)
            return self._sprites(self._sprites(image, low), tall)
        image = paint_ground(self.world, self.view, self.look)
        self._marks(image)
        self._contact(image, low + tall)
        self._shade(image, shadow_outlines(low, self.view))
        image = self._sprites(_to_bytes(image), low).astype(np.float32)
        self._shade(image, shadow_outlines(tall, self.view) + self._tree_shadows())
        image = self._sprites(_to_bytes(image), tall).astype(np.float32)
        self._dirt(image)
        self._crowns(image)
        return _to_bytes(image)

    def covered(self) -> np.ndarray:
        """(H, W) bool: pixels where tree crowns or buildings hide what is on the ground."""
        mask = np.zeros(self.shape, np.uint8)
        for x, y, radius in self.world.trees:
            centre, size = self._crown_place(x, y, radius)
            axes = (max(1, round(size[0] * 0.42)), max(1, round(size[1] * 0.42)))
            cv2.ellipse(mask, (round(centre[0]), round(centre[1])), axes, 0, 0, 360, 1, -1)
        blocks = [item for item in self.world.placed if item.sprite.tall and item.sprite.label is None]
        for points in sprite_outlines(blocks, self.view):
            cv2.fillPoly(mask, [to_fixed(points, 1)], 1, cv2.LINE_8, _SHIFT)
        return mask.astype(bool)

    def _sprites(self, image: np.ndarray, placed: list[Placed]) -> np.ndarray:
        colours = [
            self.look.colour(rgb, material)
            for item in placed
            for rgb, material in zip(item.sprite.colours, item.sprite.materials)
        ]
        return draw_outlines(image, sprite_outlines(placed, self.view), colours)

    def _marks(self, image: np.ndarray) -> None:
        """Lay worn paint over the ground."""
        for paint in ('white', 'yellow'):
            outlines = [self.view.to_image(points) for points, kind in self.world.marks if kind == paint]
            if outlines:
                mask = fill_mask(self.shape, outlines, [255] * len(outlines)).astype(np.float32)
                wear = sample_tile('speckle', self.view, 0.3)[..., 1].astype(np.float32)
                mask *= np.clip(wear * (0.010 / 255) + (0.62 - 1.0) / 255 + 0.9 / 255, 0.25 / 255, 0.92 / 255)
                colour = np.array(self.look.paint[paint], np.float32)
                image += (colour - image) * mask[..., None]

    def _contact(self, image: np.ndarray, placed: list[Placed]) -> None:
        """Darken the ground close to things, where less of the sky reaches it."""
        outlines = [self.view.to_image(item.corners) for item in placed if item.sprite.height > 0.4]
        if not outlines or self.look.sensor != 'colour':
            return
        mask = fill_mask(self.shape, outlines, [255] * len(outlines), 1)
        mask = cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.55 / self.view.gsd))
        image *= (1.0 - mask.astype(np.float32) * (0.38 / 255))[..., None]

    def _shade(self, image: np.ndarray, outlines: list[np.ndarray]) -> None:
        """Darken where the sun does not reach."""
        if not outlines:
            return
        mask = fill_mask(self.shape, outlines, [255] * len(outlines))
        mask = cv2.GaussianBlur(mask, (0, 0), 0.6).astype(np.float32)
        depth = np.array(self.look.shadow, np.float32) / 255
        image *= 1.0 - mask[..., None] * depth

    def _tree_shadows(self) -> list[np.ndarray]:
        rng = np.random.default_rng(len(self.world.trees))
        angles = np.linspace(0, 2 * np.pi, 15)[:-1]
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        outlines = []
        for x, y, radius in self.world.trees:
            for share in (0.7, 1.4):
                ragged = circle * rng.uniform(0.75, 1.05, (14, 1)) * radius * (1.0 if share < 1 else 0.8)
                outlines.append(ragged + (x, y) + self.view.shadow * radius * share)
        return [self.view.to_image(points) for points in outlines]

    def _crown_place(self, x: float, y: float, radius: float) -> tuple[np.ndarray, tuple[int, int]]:
        """Image centre and size of a crown; a crown is round from every side, so it is not foreshortened."""
        centre = self.view.to_image(np.array([x, y])) + self.view.relief * radius
        side = max(3, round(2.0 * radius / self.view.gsd))
        return centre, (side, side)

    def _crowns(self, image: np.ndarray) -> None:
        if not self.world.trees:
            return
        linear = self.view.dst_from_ground[:2, :2] * self.view.gsd
        sun = self.view.sun
        lit = np.append(linear @ sun[:2], sun[2])
        bank = light_crowns(lit, self.look.foliage())
        rng = np.random.default_rng(len(self.world.trees) + 1)
        picks = rng.integers(len(bank), size=len(self.world.trees))
        shades = rng.uniform(0.82, 1.16, len(self.world.trees))
        for (x, y, radius), pick, shade in zip(self.world.trees, picks, shades):
            draw_crown(image, bank[pick], *self._crown_place(x, y, radius), shade)

    def _dirt(self, image: np.ndarray) -> None:
        """Uneven wear over everything, roofs and vehicles included."""
        dirt = sample_tile('speckle', self.view, 1.1)[..., 1].astype(np.float32)
        image *= (1.0 + (dirt - 128.0) * (0.028 / 40))[..., None]


def _to_bytes(image: np.ndarray) -> np.ndarray:
    """Round float32 values to uint8."""
    return cv2.convertScaleAbs(np.maximum(image, 0.0))

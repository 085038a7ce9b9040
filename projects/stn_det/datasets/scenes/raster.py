"""Draws a world through a view: ground, paint, shadows and low things, then tall things and trees.

Outlines are filled at twice the resolution and averaged, which places edges to a small fraction of a pixel. OpenCV
counts pixel centres from 0, so half a pixel is taken off our continuous coordinates.
"""

from __future__ import annotations

from itertools import accumulate

import cv2
import numpy as np

from stn_det.datasets.scenes.appearance import Appearance
from stn_det.datasets.scenes.ground import Ground, solid
from stn_det.datasets.scenes.shapes import Colour
from stn_det.datasets.scenes.trees import draw_crown, light_crowns
from stn_det.datasets.scenes.view import View
from stn_det.datasets.scenes.world import Placed, World

_FINE = 2
"""Samples per pixel along x and y."""

_SHIFT = 4
"""Fractional bits of OpenCV's coordinates."""

_GROWTH = 0.33
"""Pixels by which OpenCV's smooth filling grows an outline on every side at this resolution (measured)."""


def to_fixed(points: np.ndarray, fine: int = _FINE) -> np.ndarray:
    """Image points to OpenCV's fixed-point coordinates on a grid ``fine`` times as dense."""
    return np.round((points * fine - 0.5) * (1 << _SHIFT)).astype(np.int32)


def _parts(points: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """Cut (P, 2) points into outlines of the given sizes."""
    ends = list(accumulate(sizes))
    return [points[end - size : end] for size, end in zip(sizes, ends)]


def shrink(points: np.ndarray, sizes: list[int], amount: float) -> np.ndarray:
    """Move every edge of simple outlines inwards.

    Args:
        points: (P, 2) vertices of all outlines, one after the other.
        sizes: Number of vertices of each outline.
        amount: Distance in the points' unit; less for outlines that are too thin for it.

    Returns:
        (P, 2) vertices.
    """
    ends = np.cumsum(sizes)
    starts = ends - sizes
    after, before = np.arange(1, len(points) + 1), np.arange(-1, len(points) - 1)
    after[ends - 1], before[starts] = starts, ends - 1
    edges = points[after] - points
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    twice_area = np.add.reduceat(points[:, 0] * points[after, 1] - points[:, 1] * points[after, 0], starts)
    perimeter = np.add.reduceat(lengths, starts)
    inwards = np.copysign(np.minimum(amount, 0.4 * np.abs(twice_area) / np.maximum(perimeter, 1e-9)), twice_area)
    normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1) / np.maximum(lengths, 1e-9)[:, None]
    other = normals[before]
    # Where two edges meet, the vertex moves along the mitre, at most twice as far as the edges.
    mitre = (normals + other) / np.maximum(1.0 + (normals * other).sum(axis=1), 0.5)[:, None]
    return points + mitre * np.repeat(inwards, sizes)[:, None]


def fill_mask(shape: tuple[int, int], points: np.ndarray, sizes: list[int]) -> np.ndarray:
    """(H, W) uint8 share of each pixel that image outlines cover, given as joined points (P, 2) and their sizes."""
    mask = np.zeros((shape[0] * _FINE, shape[1] * _FINE), np.uint8)
    for outline in _parts(to_fixed(points), sizes):
        cv2.fillPoly(mask, [outline], 255, cv2.LINE_AA, _SHIFT)
    return cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)


def draw_outlines(image: np.ndarray, points: np.ndarray, sizes: list[int], colours: list[Colour]) -> np.ndarray:
    """Fill image outlines over ``image`` (H, W, 3) uint8, one after the other, with smooth edges."""
    height, width = image.shape[:2]
    fine = cv2.resize(image, (width * _FINE, height * _FINE), interpolation=cv2.INTER_NEAREST)
    for outline, colour in zip(_parts(to_fixed(points), sizes), colours):
        cv2.fillPoly(fine, [outline], colour, cv2.LINE_AA, _SHIFT)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)


def sprite_points(placed: list[Placed], view: View) -> tuple[np.ndarray, list[int]]:
    """Image points (P, 2) of every outline of the placed sprites, and the outlines' sizes.

    Clutter is lifted by its height under an oblique view. Labelled objects are not, so that their boxes stay exact.
    """
    mapped = view.to_image(np.concatenate([item.points for item in placed]))
    start = 0
    for item in placed:
        stop = start + len(item.points)
        if item.sprite.lifted:
            mapped[start:stop] += np.array(item.sprite.heights)[:, None] * view.relief
        start = stop
    return mapped, [size for item in placed for size in item.sizes]


def shadow_points(placed: list[Placed], view: View) -> list[np.ndarray]:
    """Ground outlines of the shadows: the hull of each solid's bottom and top moved along the sun's rays."""
    outlines = []
    for item in placed:
        for points, low, high in item.solids:
            swept = np.concatenate([points + view.shadow * low, points + view.shadow * high]).astype(np.float32)
            outlines.append(cv2.convexHull(swept)[:, 0])
    return outlines


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
        ground = Ground(self.world, self.view, self.look)
        image = ground.paint()
        self._marks(image, ground.uneven)
        self._contact(image, low + tall)
        self._shade(image, shadow_points(low, self.view))
        image = self._sprites(image, low)
        self._shade(image, shadow_points(tall, self.view) + self._tree_shadows())
        image = self._sprites(image, tall)
        wear = cv2.LUT(ground.uneven, np.round(128 + (np.arange(256) - 128) * 0.09).astype(np.uint8))
        cv2.multiply(image, cv2.merge([wear] * 3), dst=image, scale=1 / 128)
        self._crowns(image)
        return image

    def covered(self) -> np.ndarray:
        """(H, W) bool: pixels where tree crowns or buildings hide what is on the ground."""
        mask = np.zeros(self.shape, np.uint8)
        for x, y, radius in self.world.trees:
            centre, size = self._crown_place(x, y, radius)
            cv2.circle(mask, (round(centre[0]), round(centre[1])), max(1, round(size[0] * 0.42)), 1, -1)
        blocks = [item for item in self.world.placed if item.sprite.lifted]
        if blocks:
            points, sizes = sprite_points(blocks, self.view)
            for outline in _parts(to_fixed(points, 1), sizes):
                cv2.fillPoly(mask, [outline], 1, cv2.LINE_8, _SHIFT)
        return mask.astype(bool)

    def _sprites(self, image: np.ndarray, placed: list[Placed]) -> np.ndarray:
        if not placed:
            return image
        look = self.look.colour
        colours = [
            look(rgb, material) for item in placed for rgb, material in zip(item.sprite.colours, item.sprite.materials)
        ]
        points, sizes = sprite_points(placed, self.view)
        # The faces of a roof share edges: shrunk, they would let the ground shine through.
        exact = np.repeat([not item.sprite.lifted for item in placed], [len(item.points) for item in placed])
        points = np.where(exact[:, None], shrink(points, sizes, _GROWTH), points)
        return draw_outlines(image, points, sizes, colours)

    def _mask(self, outlines: list[np.ndarray]) -> np.ndarray:
        """(H, W) uint8 cover of ground outlines."""
        points = self.view.to_image(np.concatenate(outlines).astype(np.float64))
        sizes = [len(outline) for outline in outlines]
        return fill_mask(self.shape, shrink(points, sizes, _GROWTH), sizes)

    def _marks(self, image: np.ndarray, wear: np.ndarray) -> None:
        """Lay worn paint over the ground."""
        thickness = cv2.LUT(wear, np.clip(0.62 * 255 + (np.arange(256) - 128) * 1.6, 50, 225).astype(np.uint8))
        for paint in ('white', 'yellow'):
            outlines = [points for points, kind in self.world.marks if kind == paint]
            if outlines:
                mask = cv2.multiply(self._mask(outlines), thickness, scale=1 / 255)
                share = mask.astype(np.float32) * np.float32(1 / 255)
                image[:] = cv2.blendLinear(image, solid(image.shape, self.look.paint[paint]), 1.0 - share, share)

    def _contact(self, image: np.ndarray, placed: list[Placed]) -> None:
        """Darken the ground close to things that stand on it, where less of the sky reaches it."""
        outlines = [points for item in placed for points, low, high in item.solids if low < 0.3 < high]
        if not outlines or self.look.sensor != 'colour':
            return
        mask = cv2.GaussianBlur(self._mask(outlines), (0, 0), max(0.5, 0.5 / self.view.gsd))
        self._multiply(image, mask, (0.42, 0.42, 0.40))

    def _shade(self, image: np.ndarray, outlines: list[np.ndarray]) -> None:
        """Darken where the sun does not reach."""
        if outlines:
            self._multiply(image, cv2.GaussianBlur(self._mask(outlines), (3, 3), 0.6), self.look.shadow)

    @staticmethod
    def _multiply(image: np.ndarray, mask: np.ndarray, depth: tuple[float, float, float]) -> None:
        """Darken ``image`` in place by ``depth`` of each colour where ``mask`` is full."""
        levels = np.arange(256) / 255
        gains = [cv2.LUT(mask, np.round(255 * (1.0 - share * levels)).astype(np.uint8)) for share in depth]
        cv2.multiply(image, cv2.merge(gains), dst=image, scale=1 / 255)

    def _tree_shadows(self) -> list[np.ndarray]:
        """Ragged ground outlines of the crowns' shadows."""
        if not self.world.trees:
            return []
        trees = np.array(self.world.trees)
        rng = np.random.default_rng(len(trees))
        angles = np.linspace(0, 2 * np.pi, 15)[:-1]
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        outlines: list[np.ndarray] = []
        for height, size in ((0.7, 1.0), (1.5, 0.8)):
            ragged = circle * rng.uniform(0.75, 1.05, (len(trees), 14, 1)) * trees[:, None, 2:] * size
            outlines.extend(ragged + trees[:, None, :2] + self.view.shadow * trees[:, None, 2:] * height)
        return outlines

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
        bank = light_crowns(np.append(linear @ sun[:2], sun[2]), self.look.foliage())
        rng = np.random.default_rng(len(self.world.trees) + 1)
        picks = rng.integers(len(bank), size=len(self.world.trees))
        shades = rng.uniform(0.82, 1.16, len(self.world.trees))
        for (x, y, radius), pick, shade in zip(self.world.trees, picks, shades):
            draw_crown(image, bank[pick], *self._crown_place(x, y, radius), shade)

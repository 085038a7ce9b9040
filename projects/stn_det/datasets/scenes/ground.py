"""Paints land covers, forest, stains and foam in 8-bit colour."""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache

import cv2
import numpy as np

from stn_det.datasets.scenes.appearance import Appearance
from stn_det.datasets.scenes.tiles import ISOTROPIC, TILE, TILE_GSD, tile
from stn_det.datasets.scenes.trees import canopy, light_canopy
from stn_det.datasets.scenes.view import View, rotation
from stn_det.datasets.scenes.world import Cover, World

Box = tuple[int, int, int, int]

_LEVEL = 40.0
"""Grey levels of a tile per unit of its noise."""


def _tile_from_image(view: View, heading: float) -> np.ndarray:
    """(3, 3) image pixels to tile pixels for a texture turned by ``heading`` on the ground."""
    tile_from_ground = np.eye(3)
    tile_from_ground[:2, :2] = rotation(-heading) / TILE_GSD
    tile_from_ground[:2, 2] = 311.7 * heading, 173.3 * heading
    return tile_from_ground @ np.linalg.inv(view.dst_from_ground)


def _warp(source: np.ndarray, view: View, heading: float, box: Box) -> np.ndarray:
    """Lay a tile over the part ``box`` (x1, y1, x2, y2) of the image."""
    x1, y1, x2, y2 = box
    corner = np.eye(3)
    corner[:2, 2] = x1, y1
    matrix = _tile_from_image(view, heading) @ corner
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if view.dst_from_ground[2, 0] == 0.0 and view.dst_from_ground[2, 1] == 0.0:
        return cv2.warpAffine(source, matrix[:2], (x2 - x1, y2 - y1), flags=flags, borderMode=cv2.BORDER_WRAP)
    return cv2.warpPerspective(source, matrix, (x2 - x1, y2 - y1), flags=flags, borderMode=cv2.BORDER_WRAP)


def _sample(name: str, view: View, heading: float, box: Box) -> tuple[np.ndarray, bool]:
    """(h, w, C) uint8 part of the tile ``name`` as it lies in ``box``, and whether it is turned with the ground.

    Textures without a direction are cut out and scaled, not turned, which is several times as fast; ``heading`` then
    only chooses the place.
    """
    source = canopy() if name == 'canopy' else tile(name)
    x1, y1, x2, y2 = box
    side = _scaled_side(view.gsd)
    if name not in ISOTROPIC or max(view.size) > side:
        return _warp(source, view, heading, box), True
    scaled = _scaled(name, side)
    share = (heading / (2 * math.pi)) % 1.0
    x, y = int(share * (side - view.size[0])), int((7 * share) % 1.0 * (side - view.size[1]))
    return scaled[y + y1 : y + y2, x + x1 : x + x2], False


def _scaled_side(gsd: float) -> int:
    """Side in pixels of a tile scaled to a ground sample distance, in steps of 40 %: few enough to keep."""
    return round(TILE * 1.4 ** round(math.log(TILE_GSD / gsd, 1.4)))


@lru_cache(maxsize=20)
def _scaled(name: str, side: int) -> np.ndarray:
    """(side, side, C) uint8 copy of a tile."""
    source = canopy() if name == 'canopy' else tile(name)
    return cv2.resize(source, (side, side), interpolation=cv2.INTER_AREA if side < TILE else cv2.INTER_LINEAR)


class Ground:
    """Paints the ground of one world as one sensor sees it, sharing textures between its covers.

    Args:
        world: What lies on the ground.
        view: The sensor's geometry.
        look: The sensor's colours.

    Attributes:
        uneven: (H, W) uint8 uneven texture over the whole image, for edges, stains and wear; known once painted.
    """

    def __init__(self, world: World, view: View, look: Appearance) -> None:
        self.world, self.view, self.look = world, view, look
        self._whole: Box = (0, 0, *view.size)
        self.uneven = np.full((view.size[1], view.size[0]), 128, np.uint8)
        self._cache: dict[tuple, np.ndarray] = {}
        self._uses = Counter(self._key(cover) for cover in world.covers)

    def paint(self) -> np.ndarray:
        """Return the (H, W, 3) uint8 ground with every cover, stain and wake of the world."""
        width, height = self.view.size
        image = np.zeros((height, width, 3), np.uint8)
        for cover in self.world.covers:
            if cover.outline is None:
                image[:] = self._texture(cover, self._whole)
                continue
            found = self._mask(cover)
            if found is None:
                continue
            share, box = found
            x1, y1, x2, y2 = box
            region = image[y1:y2, x1:x2]
            texture = (
                self._texture(cover, box) if cover.kind != 'shadow' else cv2.convertScaleAbs(region, None, cover.shade)
            )
            image[y1:y2, x1:x2] = cv2.blendLinear(region, texture, 1.0 - share, share)
        self._stains(image)
        self._foam(image)
        return image

    @staticmethod
    def _key(cover: Cover) -> tuple:
        return cover.kind, cover.heading, cover.shade, cover.colour

    def _texture(self, cover: Cover, box: Box) -> np.ndarray:
        """(h, w, 3) uint8 texture of a cover inside ``box``; kept for the whole image when several covers share it."""
        key = self._key(cover)
        if self._uses[key] < 3:
            return self._make_texture(cover, box)
        if key not in self._cache:
            self._cache[key] = self._make_texture(cover, self._whole)
        x1, y1, x2, y2 = box
        return self._cache[key][y1:y2, x1:x2]

    def _make_texture(self, cover: Cover, box: Box) -> np.ndarray:
        if cover.kind == 'forest':
            sample, turned = _sample('canopy', self.view, cover.heading, box)
            return light_canopy(sample, self._sun(cover.heading, turned), self.look.foliage())
        if cover.colour is not None:
            base = np.array(self.look.colour(cover.colour, cover.material), float)
            name, change, strength = 'plain', base * 0.02, 0.035
        else:
            name, base, change, strength = self.look.cover(cover.kind, cover.shade)
        # colour = base + mixture * change + detail * strength * base, as one matrix on the tile's channels.
        linear = np.stack([change, base * strength, np.zeros(3)], axis=1) / _LEVEL
        offset = base - linear.sum(axis=1) * 128.0
        sample, _ = _sample(name, self.view, cover.heading, box)
        if cover.outline is None:
            self.uneven = np.ascontiguousarray(sample[..., 2])
        return cv2.transform(sample, np.column_stack([linear, offset]))

    def _sun(self, heading: float, turned: bool) -> np.ndarray:
        """(3,) direction to the sun in the frame of a texture that is turned with the ground, or laid on the image."""
        sun = self.view.sun
        linear = rotation(-heading) if turned else self.view.dst_from_ground[:2, :2] * self.view.gsd
        return np.append(linear @ sun[:2], sun[2])

    def _mask(self, cover: Cover) -> tuple[np.ndarray, Box] | None:
        """Cover's share of each pixel, (h, w) float32, and the box of the image it is for; None when out of sight."""
        width, height = self.view.size
        points = self.view.to_image(cover.outline)
        reach = 2.5 * cover.soft / self.view.gsd + 2
        x1, y1 = np.maximum(np.floor(points.min(axis=0) - reach), 0).astype(int).tolist()
        x2, y2 = np.minimum(np.ceil(points.max(axis=0) + reach), (width, height)).astype(int).tolist()
        if x1 >= x2 or y1 >= y2:
            return None
        mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
        cv2.fillPoly(mask, [np.round((points - (x1, y1) - 0.5) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        if not mask.any():
            return None
        if cover.soft > 0:
            mask = cv2.GaussianBlur(mask, (0, 0), max(0.4, cover.soft / self.view.gsd))
            ragged = cv2.addWeighted(mask, 3.0, self.uneven[y1:y2, x1:x2], 1.5, -256.0 - 1.5 * 128.0)
            mask = cv2.min(ragged, cv2.convertScaleAbs(mask, None, 3.0))
        return mask.astype(np.float32) * np.float32(1 / 255), (x1, y1, x2, y2)

    def _drawn(self, outlines: list[np.ndarray], amounts: list[float], soft: float) -> np.ndarray:
        """(H, W) uint8 mask of ground outlines, blurred by ``soft`` metres."""
        mask = np.zeros((self.view.size[1], self.view.size[0]), np.uint8)
        sizes = [len(points) for points in outlines]
        fixed = np.round((self.view.to_image(np.concatenate(outlines)) - 0.5) * 16).astype(np.int32)
        start = 0
        for size, amount in zip(sizes, amounts):
            cv2.fillPoly(mask, [fixed[start : start + size]], int(255 * min(1.0, amount)), cv2.LINE_AA, 4)
            start += size
        return cv2.GaussianBlur(mask, (0, 0), max(0.5, soft / self.view.gsd))

    def _stains(self, image: np.ndarray) -> None:
        """Soft dark or light marks: oil, tyre tracks, repairs, worn paths."""
        uneven = cv2.LUT(self.uneven, _ramp(88, 100, 0.35, 0.15, 1.0))
        for sign, change in ((-1.0, -0.6), (1.0, 0.45)):
            marks = [(points, abs(amount)) for points, amount in self.world.stains if amount * sign > 0]
            if marks:
                mask = self._drawn([points for points, _ in marks], [amount for _, amount in marks], 0.22)
                mask = cv2.multiply(mask, uneven, scale=1 / 255)
                gain = cv2.LUT(mask, np.round(128 * (1 + change * np.arange(256) / 255)).astype(np.uint8))
                cv2.multiply(image, cv2.merge([gain] * 3), dst=image, scale=1 / 128)

    def _foam(self, image: np.ndarray) -> None:
        """White water behind and beside moving ships."""
        wakes = self.world.wakes
        if not wakes:
            return
        mask = self._drawn([points for points, _ in wakes], [amount for _, amount in wakes], 0.6)
        churn = _warp(tile('water'), self.view, math.pi / 3, self._whole)[..., 1]
        mask = cv2.multiply(mask, cv2.LUT(churn, _ramp(128, 70, 0.55, 0.1, 0.9)), scale=1 / 255)
        share = mask.astype(np.float32) / 255
        level = {'colour': (206, 216, 216), 'infrared': (62,) * 3, 'sar': (96,) * 3}[self.look.sensor]
        image[:] = cv2.blendLinear(image, solid(image.shape, level), 1.0 - share, share)


def solid(shape: tuple[int, ...], colour: tuple[int, int, int]) -> np.ndarray:
    """(H, W, 3) uint8 of one colour."""
    return cv2.merge([np.full(shape[:2], value, np.uint8) for value in colour])


def _ramp(centre: float, width: float, middle: float, low: float, high: float) -> np.ndarray:
    """(256,) uint8 table of a clipped line through ``middle`` at ``centre``, rising by 1 over ``width`` levels."""
    values = np.clip(middle + (np.arange(256) - centre) / width, low, high)
    return np.round(values * 255).astype(np.uint8)

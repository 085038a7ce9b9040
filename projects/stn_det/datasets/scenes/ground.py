"""Paints land covers, forest, stains and foam."""

from __future__ import annotations

import math

import cv2
import numpy as np

from stn_det.datasets.scenes.appearance import Appearance
from stn_det.datasets.scenes.tiles import TILE_GSD, tile
from stn_det.datasets.scenes.trees import canopy, light_canopy
from stn_det.datasets.scenes.view import View, rotation
from stn_det.datasets.scenes.world import Cover, World


def _tile_from_image(view: View, heading: float) -> np.ndarray:
    """(3, 3) image pixels to tile pixels for a texture turned by ``heading`` on the ground."""
    tile_from_ground = np.eye(3)
    tile_from_ground[:2, :2] = rotation(-heading) / TILE_GSD
    tile_from_ground[:2, 2] = 311.7 * heading, 173.3 * heading
    return tile_from_ground @ np.linalg.inv(view.dst_from_ground)


def _warp(source: np.ndarray, view: View, heading: float, box: tuple[int, int, int, int]) -> np.ndarray:
    """Lay a tile over the part ``box`` (x1, y1, x2, y2) of the image."""
    x1, y1, x2, y2 = box
    corner = np.eye(3)
    corner[:2, 2] = x1, y1
    matrix = _tile_from_image(view, heading) @ corner
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if view.dst_from_ground[2, 0] == 0.0 and view.dst_from_ground[2, 1] == 0.0:
        return cv2.warpAffine(source, matrix[:2], (x2 - x1, y2 - y1), flags=flags, borderMode=cv2.BORDER_WRAP)
    return cv2.warpPerspective(source, matrix, (x2 - x1, y2 - y1), flags=flags, borderMode=cv2.BORDER_WRAP)


def sample_tile(name: str, view: View, heading: float) -> np.ndarray:
    """(H, W, 2) uint8 texture over the whole image."""
    return _warp(tile(name), view, heading, (0, 0, *view.size))


def _texture(cover: Cover, view: View, look: Appearance, box: tuple[int, int, int, int]) -> np.ndarray:
    """(h, w, 3) float32 colours of a cover inside ``box``."""
    if cover.kind == 'forest':
        sun = view.sun
        local = np.append(rotation(-cover.heading) @ sun[:2], sun[2])
        return light_canopy(_warp(canopy(), view, cover.heading, box), local, look.foliage())
    if cover.colour is not None:
        base = np.array(look.colour(cover.colour, cover.material), np.float32)
        name, change, strength = 'speckle', base * 0.02, 0.035
    else:
        name, base, change, strength = look.cover(cover.kind, cover.shade)
    sample = _warp(tile(name), view, cover.heading, box).astype(np.float32)
    sample -= 128.0
    gain = sample[..., 1] * (strength / 40) + 1.0
    colour = sample[..., :1] * (change / 40) + base
    colour *= gain[..., None]
    return colour


def _mask(cover: Cover, view: View, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int, int, int]] | None:
    """Cover's share of each pixel, (h, w) float32, and the box of the image that it is for; None when out of sight."""
    width, height = size
    points = view.to_image(cover.outline)
    reach = 3.0 * cover.soft / view.gsd + 2
    x1, y1 = np.maximum(np.floor(points.min(axis=0) - reach), 0).astype(int)
    x2, y2 = np.minimum(np.ceil(points.max(axis=0) + reach), (width, height)).astype(int)
    if x1 >= x2 or y1 >= y2:
        return None
    mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
    fixed = np.round((points - (x1, y1) - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, 4)
    share = mask.astype(np.float32) / 255
    box = (int(x1), int(y1), int(x2), int(y2))
    if cover.soft > 0:
        share = cv2.GaussianBlur(share, (0, 0), max(0.4, cover.soft / view.gsd))
        ragged = (_warp(tile('speckle'), view, cover.heading, box)[..., 1].astype(np.float32) - 128) / 40
        share = np.clip((share - 0.5 + 0.16 * ragged) * 3.0 + 0.5, 0.0, 1.0) * np.clip(share * 4.0, 0.0, 1.0)
    return share, box


def paint_ground(world: World, view: View, look: Appearance) -> np.ndarray:
    """Return the (H, W, 3) float32 ground with every cover, stain and wake of the world."""
    width, height = view.size
    image = np.zeros((height, width, 3), np.float32)
    for cover in world.covers:
        if cover.outline is None:
            image[:] = _texture(cover, view, look, (0, 0, width, height))
            continue
        found = _mask(cover, view, (width, height))
        if found is None or not found[0].any():
            continue
        share, (x1, y1, x2, y2) = found
        texture = _texture(cover, view, look, (x1, y1, x2, y2))
        region = image[y1:y2, x1:x2]
        texture -= region
        texture *= share[..., None]
        region += texture
    _stains(image, world, view, look)
    _foam(image, world, view, look)
    return image


def _stains(image: np.ndarray, world: World, view: View, look: Appearance) -> None:
    """Soft dark or light marks: oil, tyre tracks, repairs, worn paths."""
    for sign in (-1.0, 1.0):
        marks = [(view.to_image(points), abs(amount)) for points, amount in world.stains if amount * sign > 0]
        if not marks:
            continue
        mask = np.zeros(image.shape[:2], np.uint8)
        for points, amount in marks:
            fixed = np.round((points - 0.5) * 16).astype(np.int32)
            cv2.fillPoly(mask, [fixed], int(255 * min(1.0, amount)), cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.22 / view.gsd)).astype(np.float32)
        uneven = sample_tile('speckle', view, 2.0)[..., 1].astype(np.float32)
        soft *= np.clip(0.35 + (uneven - 88) / 100, 0.15, 1.3) / 255
        gain = 1.0 - 0.6 * soft if sign < 0 else 1.0 + 0.45 * soft
        image *= gain[..., None]


def _foam(image: np.ndarray, world: World, view: View, look: Appearance) -> None:
    """White water behind and beside moving ships."""
    if not world.wakes:
        return
    mask = np.zeros(image.shape[:2], np.uint8)
    for points, amount in world.wakes:
        fixed = np.round((view.to_image(points) - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(mask, [fixed], int(255 * amount), cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.6, 0.6 / view.gsd)).astype(np.float32) / 255
    churn = sample_tile('water', view, math.pi / 3)[..., 1].astype(np.float32)
    soft *= np.clip(0.55 + (churn - 128) / 70, 0.1, 1.3)
    foam = np.full(3, 62.0 if look.sensor == 'infrared' else 96.0, np.float32)
    if look.sensor == 'colour':
        foam = np.array([206, 216, 216], np.float32)
    image += (foam - image) * np.clip(soft, 0, 0.9)[..., None]

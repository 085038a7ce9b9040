"""Outlines of oriented boxes with sub-pixel, anti-aliased lines."""

from typing import Any

import cv2
import numpy as np
import torch

from stn_det.errors import InputError
from stn_det.geometry import rbox_to_qbox

from .palette import Color

SUBPIXEL_BITS = 4


def to_array(values: Any) -> np.ndarray:
    """Turn a tensor, an mmdet box object (anything with ``.tensor``) or a sequence into a numpy array on the CPU."""
    values = getattr(values, 'tensor', values)
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return values.double().numpy() if values.is_floating_point() else values.numpy()
    return np.asarray(values)


def to_corners(boxes: Any) -> np.ndarray:
    """Corners (N, 4, 2) in pixels of rboxes (N, 5) or qboxes (N, 8); boxes that are not finite become NaN.

    Raises:
        InputError: another shape.
    """
    boxes = to_array(boxes).astype(np.float64)
    if boxes.size == 0:
        return np.zeros((0, 4, 2))
    if boxes.ndim != 2 or boxes.shape[1] not in (5, 8):
        raise InputError(f'boxes have shape {boxes.shape}; expected (N, 5) rboxes or (N, 8) qboxes')
    if boxes.shape[1] == 5:
        boxes = rbox_to_qbox(torch.from_numpy(boxes)).numpy()
    return boxes.reshape(-1, 4, 2)


def default_thickness(height: int, width: int) -> int:
    """Line thickness in pixels that looks alike on a thumbnail and on a large tile."""
    return max(1, round(min(height, width) / 550))


def thickness_for(corners: np.ndarray, most: int, least: int = 1) -> int:
    """Thickness for one box (4, 2) that leaves a small object visible inside its outline."""
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
    return int(np.clip(sides.min() / 7, least, most)) if np.isfinite(sides).all() else least


def draw_line(image: np.ndarray, points: np.ndarray, color: Color, thickness: int, closed: bool = False) -> None:
    """Draw a polyline (P, 2) of continuous pixel coordinates in place."""
    # OpenCV counts from the centre of the first pixel, which lies at (0.5, 0.5) here.
    fixed = np.round((points - 0.5) * (1 << SUBPIXEL_BITS)).clip(-(2**30), 2**30).astype(np.int32)
    cv2.polylines(image, [fixed], closed, color, thickness, cv2.LINE_AA, SUBPIXEL_BITS)


def draw_outline(image: np.ndarray, corners: np.ndarray, color: Color, thickness: int, dash: float = 0.0) -> None:
    """Draw the outline of one box (4, 2) in place, ``dash`` pixels on and off, or solid if 0."""
    if not np.isfinite(corners).all():
        return
    if not dash:
        draw_line(image, corners, color, thickness, closed=True)
        return
    for start, end in zip(corners, np.roll(corners, -1, axis=0)):
        # An odd number of pieces puts a dash at both ends of a side, so that the corners of the box are seen.
        pieces = max(1, int(np.linalg.norm(end - start) / dash)) | 1
        stops = start + np.linspace(0, 1, pieces + 1)[:, None] * (end - start)
        for piece in range(0, pieces, 2):
            draw_line(image, stops[piece : piece + 2], color, thickness)


def draw_heading(image: np.ndarray, corners: np.ndarray, color: Color, thickness: int) -> None:
    """Mark the front (the +w end) of one rbox (4, 2) by a tick that stands out from the middle of that side."""
    if not np.isfinite(corners).all():
        return
    front, back = corners[1:3].mean(axis=0), corners[[0, 3]].mean(axis=0)
    length = float(np.linalg.norm(front - back))
    if length == 0:
        return
    width = float(np.linalg.norm(corners[2] - corners[1]))
    tick = np.clip(0.3 * width, 2.0 * thickness + 1, 6.0 * thickness + 2)
    draw_line(image, np.stack([front, front + (front - back) / length * tick]), color, thickness)

"""Boxes from masks and masks from boxes; pixel (i, j) covers [j, j + 1] x [i, i + 1]."""

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from torch import Tensor

from stn_det.errors import InputError

if TYPE_CHECKING:
    from .oriented_boxes import OrientedBoxes


def masks_of_boxes(boxes: 'OrientedBoxes', img_shape: tuple[int, int]) -> BitmapMasks:
    """Masks of the pixels whose centres lie inside the boxes.

    Args:
        boxes: N boxes.
        img_shape: Height and width, pixels.

    Returns:
        N masks (height, width), uint8.
    """
    height, width = img_shape
    masks = np.zeros((len(boxes), height, width), dtype=np.uint8)
    corners = boxes.corners.detach().cpu()
    low = corners.amin(-2).floor()
    high = corners.amax(-2).ceil()
    for i in range(len(boxes)):  # only the window around each box is tested
        x1, y1 = (max(int(v), 0) for v in low[i])
        x2, y2 = min(int(high[i, 0]), width), min(int(high[i, 1]), height)
        if x1 >= x2 or y1 >= y2:
            continue
        y, x = torch.meshgrid(torch.arange(y1, y2), torch.arange(x1, x2), indexing='ij')
        centres = torch.stack([x, y], dim=-1).reshape(-1, 2).to(corners) + 0.5
        inside = boxes[i].detach().cpu().find_inside_points(centres)[:, 0]
        masks[i, y1:y2, x1:x2] = inside.reshape(y2 - y1, x2 - x1).numpy()
    return BitmapMasks(masks, height, width)


def quads_of_masks(masks: BitmapMasks | PolygonMasks) -> Tensor:
    """Corners of the rectangles of least area around masks.

    Args:
        masks: N bitmap or polygon masks.

    Returns:
        (N, 8) float32 corners, pixels; zeros for an empty mask.

    Raises:
        InputError: If ``masks`` is of neither type.
    """
    if isinstance(masks, BitmapMasks):
        clouds = [_outline(mask) for mask in masks.masks]
    elif isinstance(masks, PolygonMasks):
        clouds = [
            np.concatenate([np.asarray(part, dtype=np.float32).reshape(-1, 2) for part in parts] or [np.zeros((0, 2))])
            for parts in masks.masks
        ]
    else:
        raise InputError(f'masks must be BitmapMasks or PolygonMasks, got {type(masks).__name__}')
    quads = np.zeros((len(clouds), 8), dtype=np.float32)
    for quad, cloud in zip(quads, clouds):
        if len(cloud):
            quad[:] = cv2.boxPoints(cv2.minAreaRect(cloud.astype(np.float32))).reshape(8)
    return torch.from_numpy(quads)


def _outline(mask: np.ndarray) -> np.ndarray:
    """Corners (P, 2) of the first and last pixel of each row: their hull is that of all pixels of the mask."""
    rows = np.flatnonzero(mask.any(axis=1))
    left = mask[rows].astype(bool).argmax(axis=1)
    right = mask.shape[1] - mask[rows, ::-1].astype(bool).argmax(axis=1)
    corners = [np.stack([x, y], axis=-1) for x in (left, right) for y in (rows, rows + 1)]
    return np.concatenate(corners).astype(np.float32)

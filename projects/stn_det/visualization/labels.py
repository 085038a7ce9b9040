"""Where the labels of boxes go, so that they cover neither objects nor each other; a legend for the rest."""

from collections.abc import Sequence

import cv2
import numpy as np

from .palette import Color
from .text import blend, fill, fit_text, ink_on, text_mask

FREE = 0.02
PANEL: Color = (20, 20, 20)


def occupancy(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Mask (H, W) uint8, 1 where an object of corners (N, 4, 2) lies."""
    mask = np.zeros((height, width), dtype=np.uint8)
    finite = corners[np.isfinite(corners).all(axis=(1, 2))]
    for box in np.round(finite - 0.5).clip(-(2**20), 2**20).astype(np.int32):
        cv2.fillPoly(mask, [box], 1)
    return mask


def _spots(corners: np.ndarray, width: int, height: int, gap: int) -> list[tuple[int, int]]:
    """Candidate corners of a label: above, below, right and left of the box, next to one of its corners."""
    top, bottom = corners[corners[:, 1].argmin()], corners[corners[:, 1].argmax()]
    left, right = corners[corners[:, 0].argmin()], corners[corners[:, 0].argmax()]
    spots = [
        (top[0] - width / 2, top[1] - gap - height),
        (top[0], top[1] - gap - height),
        (bottom[0] - width / 2, bottom[1] + gap),
        (right[0] + gap, right[1] - height / 2),
        (left[0] - gap - width, left[1] - height / 2),
    ]
    return [(round(x), round(y)) for x, y in spots]


def place_labels(
    corners: np.ndarray, sizes: Sequence[tuple[int, int]], taken: np.ndarray, gap: int
) -> list[tuple[int, int] | None]:
    """Find a free place for each label, first come first served.

    Args:
        corners: (N, 4, 2) boxes.
        sizes: N pairs (width, height) of labels; (0, 0) asks for none.
        taken: (H, W) mask of what must not be covered; labels are added to it.
        gap: distance between a box and its label in pixels.

    Returns:
        Top left corner (x, y) of each label, None where there is no room.
    """
    image_height, image_width = taken.shape
    places: list[tuple[int, int] | None] = []
    for box, (width, height) in zip(corners, sizes):
        place = None
        if width and np.isfinite(box).all():
            for x, y in _spots(box, width, height, gap):
                inside = x >= 0 and y >= 0 and x + width <= image_width and y + height <= image_height
                if inside and taken[y : y + height, x : x + width].mean() <= FREE:
                    place = (x, y)
                    taken[y : y + height, x : x + width] = 1
                    break
        places.append(place)
    return places


def draw_label(image: np.ndarray, text: str, place: tuple[int, int], size: int, color: Color) -> None:
    """Draw a label in place: a plate in the colour of its box."""
    mask = text_mask(text, size)
    pad = label_padding(size)
    fill(image, *place, mask.shape[1] + 2 * pad, mask.shape[0], color, 0.85)
    blend(image, mask, place[0] + pad, place[1], ink_on(color))


def label_padding(size: int) -> int:
    """Pixels left and right of a label's text."""
    return max(2, size // 5)


def label_size(text: str, size: int) -> tuple[int, int]:
    """Width and height in pixels of a label."""
    mask = text_mask(text, size)
    return mask.shape[1] + 2 * label_padding(size), mask.shape[0]


def _emptiest_spot(taken: np.ndarray, width: int, height: int) -> tuple[int, int]:
    """Where on the border of the image a panel covers least; corners win ties."""
    right, bottom = max(0, taken.shape[1] - width), max(0, taken.shape[0] - height)
    spots = [(0, 0), (right, 0), (0, bottom), (right, bottom)]
    spots += [(int(x), y) for x in np.linspace(0, right, 10)[1:-1] for y in (0, bottom)]
    spots += [(x, int(y)) for y in np.linspace(0, bottom, 10)[1:-1] for x in (0, right)]
    return min(spots, key=lambda spot: int(taken[spot[1] : spot[1] + height, spot[0] : spot[0] + width].sum()))


def draw_legend(image: np.ndarray, entries: Sequence[tuple[str, Color]], size: int, taken: np.ndarray) -> None:
    """Draw name and colour of each class where the border of the image holds the fewest objects, in place.

    Args:
        image: (H, W, 3) RGB uint8.
        entries: name and colour.
        size: font size in pixels.
        taken: (H, W) mask of what is better not covered; the legend is added to it.
    """
    height, width = image.shape[:2]
    pad, line = max(3, size // 2), text_mask('X', size).shape[0] + max(1, size // 6)
    rows = max(1, (height // 2 - 2 * pad) // line)
    entries = list(entries)
    if len(entries) > rows:
        entries = [*entries[: rows - 1], (f'and {len(entries) - rows + 1} more', PANEL)]
    texts = [fit_text(name, size, width // 2 - 4 * pad) for name, _ in entries]
    panel_width = max(text_mask(text or ' ', size).shape[1] for text in texts) + line + 3 * pad
    panel_height = len(entries) * line + 2 * pad
    x, y = _emptiest_spot(taken, panel_width, panel_height)
    fill(image, x, y, panel_width, panel_height, PANEL, 0.72)
    taken[y : y + panel_height, x : x + panel_width] = 1
    for row, ((_, color), text) in enumerate(zip(entries, texts)):
        top = y + pad + row * line
        fill(image, x + pad, top + line // 6, line - line // 3, line - line // 3, color)
        if text:
            blend(image, text_mask(text, size), x + pad + line, top, (245, 245, 245))

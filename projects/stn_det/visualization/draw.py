"""Oriented boxes on an image."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stn_det.errors import InputError

from .labels import draw_label, draw_legend, label_size, occupancy, place_labels
from .outlines import default_thickness, draw_heading, draw_outline, thickness_for, to_array, to_corners
from .palette import Color, class_colors

LABELLED_SIDE = 2.2


def check_image(image: np.ndarray) -> np.ndarray:
    """Return a contiguous copy of an RGB or grey image as (H, W, 3) uint8.

    Raises:
        InputError: another shape or dtype.
    """
    image = np.asarray(image)
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f'image has shape {image.shape} and dtype {image.dtype}; expected (H, W, 3) RGB of uint8')
    return np.array(image, order='C')


def text_size(height: int, width: int) -> int:
    """Font size in pixels for an image."""
    return int(np.clip(round(min(height, width) / 55), 11, 40))


def palette_for(labels: np.ndarray, classes: Sequence[str] | None, palette: Sequence[Color] | None) -> list[Color]:
    """One colour per class index that occurs or is named."""
    count = max(int(labels.max(initial=-1)) + 1, len(classes or ()))
    if palette is None or len(palette) < count:
        return list(class_colors(count))
    return [(int(color[0]), int(color[1]), int(color[2])) for color in palette]


def class_name(label: int, classes: Sequence[str] | None) -> str:
    """Name of a class, or its index where it has none."""
    return str(classes[label]) if classes is not None and label < len(classes) else f'class {label}'


def draw_oriented_boxes(
    image: np.ndarray,
    boxes: Any,
    labels: Any = None,
    scores: Any = None,
    classes: Sequence[str] | None = None,
    palette: Sequence[Color] | None = None,
    thickness: int | None = None,
    heading: bool = True,
    text: bool = True,
) -> np.ndarray:
    """Draw oriented boxes on a copy of an image, the best scores on top.

    Labels with class and score are drawn if all objects are large enough to be labelled and each label finds a place
    that covers no object and no other label. Otherwise a legend tells the classes (and how many objects each has), and
    scores alone are written where they fit, unless most do not.

    Args:
        image: (H, W, 3) RGB uint8.
        boxes: (N, 5) rboxes or (N, 8) qboxes in pixels; tensor, array or box object. Boxes that are not finite are
            left out.
        labels: (N,) class indices; all 0, and no names, by default.
        scores: (N,) confidences, written with two digits.
        classes: class names by label.
        palette: RGB colours by label, 0..255; colours safe for colour-blind readers by default.
        thickness: of the lines in pixels; follows the size of the image by default.
        heading: mark the front of rboxes, their +w end, by a tick.
        text: draw labels and legend.

    Returns:
        (H, W, 3) RGB uint8.

    Raises:
        InputError: a shape that does not fit.
    """
    canvas, corners = check_image(image), to_corners(boxes)
    count = len(corners)
    kinds = np.zeros(count, dtype=int) if labels is None else to_array(labels).astype(int).reshape(-1)
    if len(kinds) != count or (scores is not None and len(scores) != count):
        raise InputError(
            f'{count} boxes came with {len(kinds)} labels and {count if scores is None else len(scores)} scores; '
            'expected one for each box'
        )
    height, width = canvas.shape[:2]
    colors = palette_for(kinds, classes, palette)
    widest = thickness or default_thickness(height, width)
    marks = heading and count > 0 and to_array(boxes).shape[1] == 5
    order = np.arange(count) if scores is None else np.argsort(to_array(scores), kind='stable')
    for index in order:
        color = colors[kinds[index]]
        line = thickness or thickness_for(corners[index], widest)
        draw_outline(canvas, corners[index], color, line)
        if marks:
            draw_heading(canvas, corners[index], color, line)
    if text and count and (labels is not None or scores is not None):
        best = order[::-1]
        values = None if scores is None else [f'{value:.2f}' for value in to_array(scores)[best].tolist()]
        named = labels is not None
        _draw_texts(canvas, corners[best], kinds[best], values, classes if named else None, colors, named)
    return canvas


def _draw_texts(
    canvas: np.ndarray,
    corners: np.ndarray,
    labels: np.ndarray,
    values: Sequence[str] | None,
    classes: Sequence[str] | None,
    colors: Sequence[Color],
    named: bool,
) -> None:
    """Full labels if all fit, otherwise a legend, and scores where they fit."""
    height, width = canvas.shape[:2]
    size = text_size(height, width)
    taken = occupancy(corners, height, width)
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    texts = list(values) if values else [''] * len(labels)
    if named:
        full = [f'{class_name(int(label), classes)} {text}'.strip() for label, text in zip(labels, texts)]
        places = _places(full, corners, longest >= LABELLED_SIDE * size, size, taken.copy())
        if None not in places:
            _draw_all(canvas, full, places, labels, colors, size)
            return
        numbers = np.bincount(labels)
        entries = [(f'{class_name(k, classes)}  {n}', colors[k]) for k, n in enumerate(numbers) if n]
        draw_legend(canvas, entries, size, taken)
    if values:
        small = max(10, round(0.75 * size))
        places = _places(texts, corners, longest >= LABELLED_SIDE * small, small, taken)
        if places.count(None) > len(places) / 2:
            return
        _draw_all(canvas, texts, places, labels, colors, small)


def _places(
    texts: Sequence[str], corners: np.ndarray, readable: np.ndarray, size: int, taken: np.ndarray
) -> list[tuple[int, int] | None]:
    sizes = [label_size(text, size) if fits else (0, 0) for text, fits in zip(texts, readable)]
    return place_labels(corners, sizes, taken, max(2, size // 4))


def _draw_all(
    canvas: np.ndarray,
    texts: Sequence[str],
    places: Sequence[tuple[int, int] | None],
    labels: np.ndarray,
    colors: Sequence[Color],
    size: int,
) -> None:
    for text, place, label in zip(texts, places, labels):
        if place is not None:
            draw_label(canvas, text, place, size, colors[label])

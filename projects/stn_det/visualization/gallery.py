"""A page of images with truth and predictions, right and wrong told apart at a glance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stn_det.errors import InputError

from .draw import check_image, class_name, palette_for
from .files import save_image
from .outlines import draw_outline, thickness_for, to_array, to_corners
from .palette import Color, class_colors
from .text import blend, fill, fit_text, text_mask

TRUTH: Color = (255, 255, 255)
FALSE: Color = (255, 45, 45)
MISSED: Color = (255, 225, 0)
PAPER: Color = (24, 24, 26)
INK: Color = (235, 235, 235)
FAINT: Color = (165, 165, 168)
GAP = 10
DASH = 6.0


@dataclass(frozen=True)
class GallerySample:
    """One image of a gallery.

    Args:
        image: (H, W, 3) RGB uint8.
        name: caption.
        boxes: (K, 5|8) predictions in pixels of the image.
        labels: (K,) their classes.
        outcomes: (K,) 1 true, 0 false, -1 neither, as ``evaluation.functional.match_image`` returns them; None if there
            is no truth to judge by.
        truths: (G, 5|8) truths, or None.
        found: (G,) True where a prediction found the truth; None counts all as found.
        ignored: (G,) True for difficult truths, which are never missed. None: no truth is.
    """

    image: np.ndarray
    name: str
    boxes: Any
    labels: Any
    outcomes: Any = None
    truths: Any = None
    found: Any = None
    ignored: Any = None


def prediction_gallery(
    samples: Sequence[GallerySample],
    out_file: str | Path,
    columns: int = 3,
    classes: Sequence[str] | None = None,
    palette: Sequence[Color] | None = None,
    tile: int = 560,
    title: str = '',
) -> Path:
    """Write a page of images: truths as thin white outlines, predictions on top.

    True positives are solid in the colour of their class, false positives dashed in red, missed truths thick in yellow.

    Args:
        samples: the images, row by row.
        out_file: PNG or JPEG file; folders are made.
        columns: images per row, fewer if there are fewer samples.
        classes: class names by label.
        palette: RGB colours by label; by default colours apart from the red, yellow and white that have a meaning here.
        tile: longest side in pixels of an image on the page.
        title: heading.

    Returns:
        The file.

    Raises:
        InputError: no sample, or a field that does not fit its boxes.
    """
    if not samples:
        raise InputError('prediction_gallery got no samples; expected at least one image')
    labels = np.concatenate([to_array(sample.labels).reshape(-1).astype(int) for sample in samples])
    count = max(int(labels.max(initial=-1)) + 1, len(classes or ()))
    colors = palette_for(labels, classes, palette or class_colors(count, avoid=(FALSE, MISSED, TRUTH)))
    columns = max(1, min(columns, len(samples)))
    tiles = [_tile(sample, tile, colors) for sample in samples]
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    page = _compose(rows, columns, tile)
    shown = [(class_name(int(k), classes), colors[k]) for k in np.unique(labels)]
    head = _header(page.shape[1], title, shown, any(sample.truths is not None for sample in samples))
    return save_image(out_file, np.concatenate([head, page]))


def _flags(values: Any, count: int, default: int, name: str) -> np.ndarray:
    flags = np.full(count, default) if values is None else to_array(values).astype(int).reshape(-1)
    if len(flags) != count:
        raise InputError(f'{name} has {len(flags)} entries for {count} boxes; expected one for each box')
    return flags


def _tile(sample: GallerySample, size: int, colors: Sequence[Color]) -> np.ndarray:
    """Image of a sample with its boxes and, below, its caption."""
    image = check_image(sample.image)
    scale = size / max(image.shape[:2])
    width, height = (max(1, round(side * scale)) for side in (image.shape[1], image.shape[0]))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = cv2.resize(image, (width, height), interpolation=method)
    boxes, truths = to_corners(sample.boxes) * scale, to_corners(() if sample.truths is None else sample.truths) * scale
    labels = _flags(sample.labels, len(boxes), 0, 'labels')
    outcomes = _flags(sample.outcomes, len(boxes), 1, 'outcomes')
    ignored = _flags(sample.ignored, len(truths), 0, 'ignored')
    missed = (_flags(sample.found, len(truths), 1, 'found') == 0) & (ignored == 0)
    for truth in truths[~missed]:
        draw_outline(canvas, truth, TRUTH, 1)
    for truth in truths[missed]:
        draw_outline(canvas, truth, MISSED, thickness_for(truth, 3, least=2))
    for box, label in zip(boxes[outcomes != 0], labels[outcomes != 0]):
        draw_outline(canvas, box, colors[label], thickness_for(box, 2))
    for box in boxes[outcomes == 0]:
        draw_outline(canvas, box, FALSE, 2, dash=DASH)
    if sample.outcomes is None:
        counts = [(f'{len(boxes)} objects', INK)]
    else:
        counts = [(f'{int((outcomes == 1).sum())} found', INK), (f'{int((outcomes == 0).sum())} false', FALSE)]
        counts.append((f'{int(missed.sum())} missed', MISSED))
    return np.concatenate([canvas, _caption(width, sample.name, counts)])


def _caption(width: int, name: str, counts: Sequence[tuple[str, Color]]) -> np.ndarray:
    """Strip below an image: name on the left, counts on the right."""
    size = 14
    height = text_mask('X', size).shape[0] + 6
    strip = np.full((height, width, 3), PAPER, dtype=np.uint8)
    x = width
    for text, color in reversed(counts):
        mask = text_mask(text, size, bold=True)
        x -= mask.shape[1]
        blend(strip, mask, x, 3, color)
        x -= size
    short = fit_text(name, size, max(0, x)) if x > 3 * size else ''
    if short:
        blend(strip, text_mask(short, size), 0, 3, INK)
    return strip


def _compose(rows: Sequence[Sequence[np.ndarray]], columns: int, size: int) -> np.ndarray:
    """Lay tiles out on a page, each row as high as its highest tile, each column as wide as its widest."""
    widths = [max(row[column].shape[1] for row in rows if column < len(row)) for column in range(columns)]
    page_width = max(sum(widths) + GAP * (columns + 1), size)
    strips = []
    for row in rows:
        strip = np.full((max(tile.shape[0] for tile in row) + GAP, page_width, 3), PAPER, dtype=np.uint8)
        x = GAP
        for tile, width in zip(row, widths):
            strip[: tile.shape[0], x : x + tile.shape[1]] = tile
            x += width + GAP
        strips.append(strip)
    return np.concatenate(strips)


def _header(width: int, title: str, shown: Sequence[tuple[str, Color]], with_truth: bool) -> np.ndarray:
    """Title and key of the page; the key breaks into as many lines as it needs."""
    size = 14
    line = text_mask('X', size).shape[0] + 8
    entries = [(name, color, 0.0, 2) for name, color in shown]
    if with_truth:
        entries += [('false', FALSE, DASH, 2), ('missed', MISSED, 0.0, 3), ('truth', TRUTH, 0.0, 1)]
    places, x, y = [], GAP, GAP + (line + 6 if title else 0)
    for name, *_ in entries:
        length = text_mask(name, size).shape[1] + 2 * size + 22
        if x + length > width and x > GAP:
            x, y = GAP, y + line
        places.append((x, y))
        x += length
    strip = np.full((y + line + GAP // 2, width, 3), PAPER, dtype=np.uint8)
    if title:
        blend(strip, text_mask(fit_text(title, 18, width - 2 * GAP, bold=True), 18, bold=True), GAP, GAP - 3, INK)
    for (name, color, dash, thickness), (x, y) in zip(entries, places):
        swatch = np.array([[x, y + 4], [x + 22, y + 4], [x + 22, y + line - 10], [x, y + line - 10]], dtype=float)
        draw_outline(strip, swatch, color, thickness, dash)
        blend(strip, text_mask(name, size), x + 30, y, FAINT)
    fill(strip, 0, strip.shape[0] - 1, width, 1, (60, 60, 62))
    return strip

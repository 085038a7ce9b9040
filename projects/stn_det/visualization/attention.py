"""Where a query of a detection transformer looks: sampling points and their weights on the image.

Letters: G heads, L levels, K points of each head and level.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import matplotlib
import numpy as np

from stn_det.errors import ConfigError, InputError

from .draw import check_image, text_size
from .labels import draw_label, draw_legend, label_size, occupancy
from .outlines import SUBPIXEL_BITS, default_thickness, draw_heading, draw_line, draw_outline, to_array, to_corners
from .palette import Color, class_colors
from .text import fit_text

COLOR_BY = ('weight', 'head')
BOX: Color = (255, 255, 255)
RIM: Color = (20, 20, 20)
PLATE: Color = (40, 40, 44)
COLORMAP = 'plasma'
DASH = 5.0
ZOOMED_SIDE = 640  # pixels
MARGIN = 0.15  # of what is zoomed in on
GAP = 6  # pixels between pictures


@dataclass(frozen=True)
class QueryAttention:
    """What one query sampled in one decoder layer, in pixels of the image that is drawn on.

    Attributes:
        points: (G, L, K, 2) x and y; points need not lie inside of the image.
        weights: (G, L, K) attention, not negative.
        reference: (5,) rbox, (8,) qbox or (2,) point that the layer looked from.
        box: (5,) rbox or (8,) qbox that it made of it, or None.
        caption: what to write above the picture.
    """

    points: Any
    weights: Any
    reference: Any
    box: Any = None
    caption: str = ''


def draw_query_attention(
    image: np.ndarray, query: QueryAttention, color_by: str = 'weight', zoom: bool = False
) -> np.ndarray:
    """Draw the sampling points of a query on a copy of an image, those with the most attention on top.

    The area of a point follows its weight; its colour, too, from dark violet (none) to yellow (the largest weight of
    the query), or else its head. The box that the query looked from is dashed, a point a cross; the box that the layer
    made of it is solid and has a tick at its front.

    Args:
        image: (H, W, 3) RGB or (H, W) grey uint8.
        query: What it sampled.
        color_by: 'weight' or 'head'.
        zoom: Show the part of the image that holds points and boxes alone, enlarged.

    Returns:
        (H, W, 3) RGB uint8; zoomed, with a longest side of ``ZOOMED_SIDE`` pixels.

    Raises:
        ConfigError: For another ``color_by``.
        InputError: If shapes do not fit.
    """
    if color_by not in COLOR_BY:
        raise ConfigError(f'color_by is {color_by!r}; expected one of {COLOR_BY}')
    canvas, seen = check_image(image), _Seen.of(query)
    if zoom:
        canvas, seen = _zoomed(canvas, seen)
    line = default_thickness(*canvas.shape[:2])
    _draw_reference(canvas, seen.reference, line)
    _draw_points(canvas, seen, color_by, (8.0 if zoom else 5.0) * line)
    if seen.box is not None:
        draw_outline(canvas, seen.box, BOX, line)
        draw_heading(canvas, seen.box, BOX, line)
    _draw_texts(canvas, seen, color_by, query.caption)
    return canvas


def attention_sheet(pictures: Sequence[np.ndarray], columns: int = 3) -> np.ndarray:
    """Pictures (H, W, 3) uint8 of any sizes beside and below each other on white, at most ``columns`` in a row.

    Raises:
        InputError: If there is no picture.
    """
    if not pictures:
        raise InputError('there is no picture to put on the sheet; expected one or more')
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    strips = [_joined(row, axis=1) for row in rows]
    return _joined(strips, axis=0)


@dataclass(frozen=True)
class _Seen:
    """A ``QueryAttention`` as checked arrays."""

    points: np.ndarray
    weights: np.ndarray
    reference: np.ndarray
    """(4, 2) corners or (1, 2) a point."""
    box: np.ndarray | None

    @classmethod
    def of(cls, query: QueryAttention) -> '_Seen':
        points, weights = to_array(query.points).astype(np.float64), to_array(query.weights).astype(np.float64)
        if points.ndim != 4 or points.shape[-1] != 2 or points.shape[:-1] != weights.shape or not points.size:
            raise InputError(
                f'points have shape {points.shape} and weights {weights.shape}; expected (G, L, K, 2) and (G, L, K)'
            )
        reference = to_array(query.reference).astype(np.float64)
        corners = reference[None] if reference.shape == (2,) else to_corners(reference[None])[0]
        return cls(points, weights, corners, None if query.box is None else to_corners(to_array(query.box)[None])[0])

    def moved(self, origin: np.ndarray, scale: float) -> '_Seen':
        """In the frame of a part of the image from ``origin`` (2,) on, enlarged."""
        box = None if self.box is None else (self.box - origin) * scale
        return _Seen((self.points - origin) * scale, self.weights, (self.reference - origin) * scale, box)


def _zoomed(image: np.ndarray, seen: _Seen) -> tuple[np.ndarray, _Seen]:
    """The part of the image that holds everything, enlarged, and what was seen in its frame."""
    height, width = image.shape[:2]
    shapes = [seen.points.reshape(-1, 2), seen.reference, *([] if seen.box is None else [seen.box])]
    spots = np.concatenate(shapes)
    spots = spots[np.isfinite(spots).all(1)].clip(0, [width, height])
    low, high = (spots.min(0), spots.max(0)) if len(spots) else (np.zeros(2), np.array([width, height]))
    margin = MARGIN * (high - low).max() + 2
    low = np.floor((low - margin).clip(0, [width - 1, height - 1])).astype(int)
    high = np.ceil((high + margin).clip(low + 1, [width, height])).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    scale = ZOOMED_SIDE / max(part.shape[:2])
    # one scale for both axes; the size is rounded, so the last column may be cut
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    # cv2 counts from the centre of the first pixel
    shift = (scale - 1) / 2
    matrix = np.array([[scale, 0, shift], [0, scale, shift]])
    enlarged = cv2.warpAffine(part, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return enlarged, seen.moved(low.astype(np.float64), scale)


def _draw_reference(canvas: np.ndarray, reference: np.ndarray, line: int) -> None:
    """A dashed box or a cross."""
    if len(reference) == 4:
        draw_outline(canvas, reference, BOX, line, dash=DASH * line)
    elif np.isfinite(reference).all():
        for arm in np.array([[4.0, 0.0], [0.0, 4.0]]) * line:
            draw_line(canvas, np.concatenate([reference - arm, reference + arm]), BOX, line)


def _draw_points(canvas: np.ndarray, seen: _Seen, color_by: str, largest: float) -> None:
    """Discs with a dark rim, the largest with a radius of ``largest`` pixels."""
    share = seen.weights / max(seen.weights.max(), np.finfo(float).tiny)
    heads = np.broadcast_to(np.arange(len(share))[:, None, None], share.shape).ravel()
    points, share = seen.points.reshape(-1, 2), share.ravel()
    if color_by == 'head':
        palette = class_colors(len(seen.points), avoid=(BOX,))
        colors = [palette[head] for head in heads]
    else:
        colors = [_weight_color(value) for value in share]
    for index in np.argsort(share, kind='stable'):
        radius = max(1.0, largest * float(np.sqrt(share[index])))
        _disc(canvas, points[index], radius + 1, RIM)
        _disc(canvas, points[index], radius, colors[index])


def _weight_color(share: float) -> Color:
    """Colour of a weight as a share of the largest one."""
    red, green, blue, _ = matplotlib.colormaps[COLORMAP](float(share), bytes=True)
    return int(red), int(green), int(blue)


def _disc(canvas: np.ndarray, centre: np.ndarray, radius: float, color: Color) -> None:
    """Fill a disc at continuous pixel coordinates (2,) in place."""
    if not np.isfinite(centre).all() or np.abs(centre).max() > 2**20:
        return
    steps = 1 << SUBPIXEL_BITS
    x, y = (round(value) for value in (centre - 0.5) * steps)
    cv2.circle(canvas, (x, y), round(radius * steps), color, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def _draw_texts(canvas: np.ndarray, seen: _Seen, color_by: str, caption: str) -> None:
    """The caption in the upper left corner, the heads beside it where colours tell them."""
    height, width = canvas.shape[:2]
    size = text_size(height, width)
    taken = occupancy(seen.reference[None] if len(seen.reference) == 4 else np.zeros((0, 4, 2)), height, width)
    text = fit_text(caption, size, width - 12)
    if text:
        draw_label(canvas, text, (0, 0), size, PLATE)
        wide, high = label_size(text, size)
        taken[:high, :wide] = 1
    if color_by == 'head':
        palette = class_colors(len(seen.points), avoid=(BOX,))
        draw_legend(canvas, [(f'head {head}', color) for head, color in enumerate(palette)], size, taken)


def _joined(pictures: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Pictures along an axis of the sheet, with gaps, filled up with white."""
    across = max(picture.shape[1 - axis] for picture in pictures)
    padded = []
    for number, picture in enumerate(pictures):
        room = [(0, 0), (0, 0), (0, 0)]
        room[1 - axis] = (0, across - picture.shape[1 - axis])
        room[axis] = (0 if number == 0 else GAP, 0)
        padded.append(np.pad(picture, room, constant_values=255))
    return np.concatenate(padded, axis=axis)

"""Small anti-aliased text on images, in the font that matplotlib brings."""

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .palette import Color


@lru_cache(maxsize=32)
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / name), size)


@lru_cache(maxsize=512)
def text_mask(text: str, size: int, bold: bool = False) -> np.ndarray:
    """Coverage (h, w) in 0..1 of one line of text; the height depends on the size alone.

    Args:
        text: the line.
        size: font size in pixels.
        bold: heavier strokes.
    """
    font = _font(size, bold)
    ascent, descent = font.getmetrics()
    mask = Image.new('L', (max(1, int(np.ceil(font.getlength(text)))), ascent + descent))
    ImageDraw.Draw(mask).text((0, 0), text, fill=255, font=font)
    return np.asarray(mask, dtype=np.float32) / 255


def fit_text(text: str, size: int, width: int, bold: bool = False) -> str:
    """Shorten a line in its middle until it is at most ``width`` pixels wide."""
    if text_mask(text, size, bold).shape[1] <= width:
        return text
    for keep in range(len(text) - 1, 0, -1):
        head = (keep + 1) // 2
        shorter = text[:head] + '…' + text[len(text) - (keep - head) :]
        if text_mask(shorter, size, bold).shape[1] <= width:
            return shorter
    return ''


def blend(image: np.ndarray, mask: np.ndarray, x: int, y: int, color: Color) -> None:
    """Lay a colour over an image (H, W, 3) in place, with a coverage mask (h, w) whose corner is at (x, y)."""
    left, top = max(0, -x), max(0, -y)
    right, bottom = min(mask.shape[1], image.shape[1] - x), min(mask.shape[0], image.shape[0] - y)
    if right <= left or bottom <= top:
        return
    region = image[y + top : y + bottom, x + left : x + right]
    weight = mask[top:bottom, left:right, None]
    region[:] = np.round(region * (1 - weight) + np.array(color, dtype=np.float32) * weight).astype(np.uint8)


def fill(image: np.ndarray, x: int, y: int, width: int, height: int, color: Color, opacity: float = 1.0) -> None:
    """Fill a rectangle in place."""
    blend(image, np.full((max(0, height), max(0, width)), opacity, dtype=np.float32), x, y, color)


def ink_on(color: Color) -> Color:
    """Black or white, whichever reads better on a colour."""
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return (0, 0, 0) if luminance > 140 else (255, 255, 255)

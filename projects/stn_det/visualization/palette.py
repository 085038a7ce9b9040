"""Class colours that stay apart for every kind of colour vision.

Seven colours of Okabe and Ito's set come first (Color Universal Design, https://jfly.uni-koeln.de/color/); more are
added one by one, each the candidate that is farthest from all before it under normal and simulated deficient vision
(A Physiologically-based Model for Simulation of Color Vision Deficiency, https://doi.org/10.1109/TVCG.2009.113).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from stn_det.errors import InputError

Color = tuple[int, int, int]

OKABE_ITO: tuple[Color, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
)
NORMAL_VISION = np.eye(3)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
LINEAR_RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
# Too dark a colour vanishes on vegetation and water, too light a one on concrete and beside white truth outlines.
LIGHTNESS_RANGE = (45.0, 90.0)
SAME_COLOR = 12.0


def _linear(rgb: np.ndarray) -> np.ndarray:
    """sRGB (N, 3) in 0..255 to linear light in 0..1."""
    value = np.asarray(rgb, dtype=np.float64) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _lab(linear: np.ndarray) -> np.ndarray:
    """Linear RGB (N, 3) to CIELAB with white point D65."""
    xyz = np.clip(linear, 0, 1) @ LINEAR_RGB_TO_XYZ.T / LINEAR_RGB_TO_XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def color_distance(first: Sequence[Color] | np.ndarray, second: Sequence[Color] | np.ndarray) -> np.ndarray:
    """Least CIELAB distance over normal, red-blind and green-blind vision.

    Args:
        first: M sRGB colours, 0..255.
        second: N sRGB colours.

    Returns:
        (M, N) distances; about 2 is just noticeable, 10 is plain.
    """
    a, b = _linear(np.array(first).reshape(-1, 3)), _linear(np.array(second).reshape(-1, 3))
    distances = [
        np.linalg.norm(_lab(a @ vision.T)[:, None] - _lab(b @ vision.T)[None], axis=-1)
        for vision in (NORMAL_VISION, PROTANOPIA, DEUTERANOPIA)
    ]
    return np.minimum.reduce(distances)


@lru_cache(maxsize=8)
def _candidates(lightest: float) -> np.ndarray:
    """Vivid colours (N, 3) of a lightness that shows on images."""
    steps = np.linspace(0, 255, 11).round().astype(int)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing='ij'), axis=-1).reshape(-1, 3)
    lab = _lab(_linear(grid))
    vivid = np.hypot(lab[:, 1], lab[:, 2]) > 25
    return grid[(lab[:, 0] > LIGHTNESS_RANGE[0]) & (lab[:, 0] < lightest) & vivid]


@lru_cache(maxsize=64)
def class_colors(
    num_classes: int, avoid: tuple[Color, ...] = (), lightest: float = LIGHTNESS_RANGE[1]
) -> tuple[Color, ...]:
    """Choose colours, the same ones each time and each list a prefix of a longer one.

    Args:
        num_classes: number of colours n.
        avoid: colours that mean something else in the picture and must not come near.
        lightest: CIELAB lightness (0 to 100) that no colour exceeds; lower it for drawing on white.

    Returns:
        n sRGB colours, 0..255.

    Raises:
        InputError: ``num_classes`` is negative.
    """
    if num_classes < 0:
        raise InputError(f'num_classes is {num_classes}; expected 0 or more')
    chosen: list[Color] = []
    for color in OKABE_ITO:
        apart = not avoid or color_distance([color], avoid).min() > 2 * SAME_COLOR
        if len(chosen) < num_classes and apart and _lab(_linear(np.array([color])))[0, 0] <= lightest:
            chosen.append(color)
    candidates = _candidates(lightest)
    taken = [*chosen, *avoid]
    nearest: np.ndarray = np.full(len(candidates), np.inf)
    if len(chosen) < num_classes and taken:
        nearest = color_distance(candidates, taken).min(axis=1)
    while len(chosen) < num_classes:
        best = candidates[int(nearest.argmax())]
        color = (int(best[0]), int(best[1]), int(best[2]))
        chosen.append(color)
        nearest = np.minimum(nearest, color_distance(candidates, [color])[:, 0])
    return tuple(chosen)

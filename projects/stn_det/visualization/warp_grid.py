"""The grid of a warp on an image: where the lines of the source have gone."""

import numpy as np
import torch

from stn_det.errors import InputError
from stn_det.geometry.warp import Warp

from .draw import check_image
from .outlines import default_thickness, draw_line
from .palette import Color

LINE_POINTS = 65  # points by which a line, which a spline bends, is drawn


def draw_warp_grid(
    image: np.ndarray, warp: Warp, lines: int = 9, color: Color = (255, 255, 255), thickness: int | None = None
) -> np.ndarray:
    """Draw where a regular grid of the source frame lies in the destination, on a copy of the warped image.

    Args:
        image: (h, w, 3) RGB or (h, w) grey uint8, the destination, ``warp.dst_size``.
        warp: One map.
        lines: Lines along each side, the frame's border included.
        color: RGB of the lines, 0..255; the border is drawn twice as thick.
        thickness: Of the lines in pixels; follows the size of the image by default.

    Returns:
        (h, w, 3) RGB uint8.

    Raises:
        InputError: If there is not one map, the image has another size, or there are fewer than two lines.
    """
    canvas = check_image(image)
    if len(warp) != 1 or canvas.shape[:2] != warp.dst_size:
        raise InputError(
            f'warp holds {len(warp)} maps to a frame of {warp.dst_size} and the image is {canvas.shape[:2]}; expected '
            f'one map, as warp[0], and an image of its destination'
        )
    if lines < 2:
        raise InputError(f'lines is {lines}, expected 2 or more: the border of the frame')
    height, width = warp.src_size
    along, across = np.linspace(0, 1, LINE_POINTS), np.linspace(0, 1, lines)
    line = thickness or default_thickness(*canvas.shape[:2])
    for place in across:
        for points in (
            np.stack([np.full(LINE_POINTS, place * width), along * height], -1),
            np.stack([along * width, np.full(LINE_POINTS, place * height)], -1),
        ):
            moved = warp.transform_points(torch.from_numpy(points)[None])[0].detach().cpu().numpy()
            seen = moved[np.isfinite(moved).all(1)]
            if len(seen) > 1:
                draw_line(canvas, seen, color, line * (2 if place in (0, 1) else 1))
    return canvas

"""Conversions between rotated (rbox), quadrilateral (qbox) and horizontal (hbox) boxes.

Convention:
    rbox (cx, cy, w, h, theta), qbox (x1, y1, ..., x4, y4), hbox (x1, y1, x2, y2), continuous pixels with y down;
    theta in radians, positive clockwise on screen.
"""

import torch
from torch import Tensor

from ._compute import check_last, compute_dtype, result_dtype
from .angles import canonicalize_rboxes
from .min_area_rect import min_area_rboxes


def rbox_to_qbox(rboxes: Tensor) -> Tensor:
    """Corners of rotated boxes.

    Args:
        rboxes: (..., 5) boxes, pixels and radians.

    Returns:
        (..., 8) corners in the order (-w/2, -h/2), (w/2, -h/2), (w/2, h/2), (-w/2, h/2) of the box frame: clockwise on
        screen, from the top left one when theta = 0.

    Raises:
        InputError: If the last dimension is not 5.
    """
    check_last('rboxes', rboxes, 5)
    cx, cy, w, h, theta = rboxes.to(compute_dtype(rboxes)).unbind(-1)
    cos, sin = theta.cos(), theta.sin()
    wx, wy = w / 2 * cos, w / 2 * sin  # half of the w side
    hx, hy = -h / 2 * sin, h / 2 * cos  # half of the h side
    corners = [
        cx - wx - hx, cy - wy - hy,
        cx + wx - hx, cy + wy - hy,
        cx + wx + hx, cy + wy + hy,
        cx - wx + hx, cy - wy + hy,
    ]  # fmt: skip
    return torch.stack(corners, dim=-1).to(result_dtype(rboxes))


def qbox_to_rbox(qboxes: Tensor) -> Tensor:
    """Rectangles of least area around quadrilaterals.

    A rectangle gives itself back. A quadrilateral of zero area gives a box of zero height along it, four equal points
    give a box of zero size with theta = 0. Where two rectangles have the same area, the side parallel to the longest
    edge or diagonal decides.

    Args:
        qboxes: (..., 8) corners in any order, pixels.

    Returns:
        (..., 5) boxes in the form 'le90'.

    Raises:
        InputError: If the last dimension is not 8.
    """
    check_last('qboxes', qboxes, 8)
    corners = qboxes.to(compute_dtype(qboxes)).unflatten(-1, (4, 2))
    return canonicalize_rboxes(min_area_rboxes(corners)).to(result_dtype(qboxes))


def rbox_to_hbox(rboxes: Tensor) -> Tensor:
    """Horizontal boxes around rotated boxes.

    Args:
        rboxes: (..., 5) boxes, pixels and radians.

    Returns:
        (..., 4) boxes (x1, y1, x2, y2), not clipped to any image.

    Raises:
        InputError: If the last dimension is not 5.
    """
    check_last('rboxes', rboxes, 5)
    cx, cy, w, h, theta = rboxes.to(compute_dtype(rboxes)).unbind(-1)
    cos, sin = theta.cos().abs(), theta.sin().abs()
    half_x = (w * cos + h * sin) / 2
    half_y = (w * sin + h * cos) / 2
    return torch.stack([cx - half_x, cy - half_y, cx + half_x, cy + half_y], dim=-1).to(result_dtype(rboxes))


def hbox_to_rbox(hboxes: Tensor) -> Tensor:
    """Horizontal boxes written as rotated boxes.

    Args:
        hboxes: (..., 4) boxes (x1, y1, x2, y2), pixels.

    Returns:
        (..., 5) boxes in the form 'le90': theta = 0 where the box is wide or square, -pi/2 where it is tall.

    Raises:
        InputError: If the last dimension is not 4.
    """
    check_last('hboxes', hboxes, 4)
    x1, y1, x2, y2 = hboxes.to(compute_dtype(hboxes)).unbind(-1)
    rboxes = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, torch.zeros_like(x1)], dim=-1)
    return canonicalize_rboxes(rboxes).to(result_dtype(hboxes))


def hbox_to_qbox(hboxes: Tensor) -> Tensor:
    """Corners of horizontal boxes.

    Args:
        hboxes: (..., 4) boxes (x1, y1, x2, y2), pixels.

    Returns:
        (..., 8) corners clockwise on screen from the top left one.

    Raises:
        InputError: If the last dimension is not 4.
    """
    check_last('hboxes', hboxes, 4)
    x1, y1, x2, y2 = hboxes.unbind(-1)
    return torch.stack([x1, y1, x2, y1, x2, y2, x1, y2], dim=-1).to(result_dtype(hboxes))


def qbox_to_hbox(qboxes: Tensor) -> Tensor:
    """Horizontal boxes around quadrilaterals.

    Args:
        qboxes: (..., 8) corners in any order, pixels.

    Returns:
        (..., 4) boxes (x1, y1, x2, y2), not clipped to any image.

    Raises:
        InputError: If the last dimension is not 8.
    """
    check_last('qboxes', qboxes, 8)
    corners = qboxes.unflatten(-1, (4, 2))
    return torch.cat([corners.amin(dim=-2), corners.amax(dim=-2)], dim=-1).to(result_dtype(qboxes))

"""The distortions of the paper: R, RTS, P and E, on images of 28 x 28 pixels, and on a canvas of 42 x 42 for RTS."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

from stn_det.geometry import translation
from stn_det.geometry.warp import MatrixWarp, ThinPlateWarp, Warp
from stn_det.geometry.warp.families import frame_unit

from .data import FRAME

CANVAS = {'R': 28, 'RTS': 42, 'P': 28, 'E': 28}
NAMES = {
    'R': 'turned by up to 90 degrees either way',
    'RTS': 'turned by up to 45 degrees, scaled by 0.7 to 1.2, placed anywhere on a canvas of 42 x 42',
    'P': 'scaled by 0.75 to 1, each corner moved by a normal distribution of 5 pixels',
    'E': 'thin-plate spline, 4 x 4 points, each moved by a normal distribution of 1.5 pixels',
}


def distort(images: Tensor, name: str, generator: torch.Generator) -> Tensor:
    """Digits on the canvas of a distortion, each distorted by its own draw.

    Args:
        images: (n, 1, 28, 28).
        name: 'R', 'RTS', 'P' or 'E'.
        generator: Of the draws.

    Returns:
        (n, 1, canvas, canvas).
    """
    return draw_warps(len(images), name, generator).transform_images(images)


def draw_warps(count: int, name: str, generator: torch.Generator) -> Warp:
    """``count`` maps of images onto the canvas.

    Args:
        count: Number of draws.
        name: 'R', 'RTS', 'P' or 'E'.
        generator: Of the draws.
    """
    return {'R': _turn, 'RTS': _turn_shift_scale, 'P': _project, 'E': _bend}[name](count, generator)


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def _turn(count: int, generator: torch.Generator) -> Warp:
    return MatrixWarp.from_parameters(_uniform(-pi / 2, pi / 2, (count, 1), generator), 'rotation', FRAME)


def _turn_shift_scale(count: int, generator: torch.Generator) -> Warp:
    """The image, before it is turned and scaled, stays on the canvas."""
    turn = _uniform(-pi / 4, pi / 4, (count, 1), generator)
    scale = _uniform(0.7, 1.2, (count, 1), generator).log()
    nowhere = torch.zeros(count, 2, dtype=torch.float64)
    about_center = MatrixWarp.from_parameters(torch.cat([turn, scale, nowhere], 1), 'similarity', FRAME)
    shift = translation(*_uniform(0, CANVAS['RTS'] - FRAME, (2, count), generator))
    return MatrixWarp(shift, FRAME, CANVAS['RTS']).after(about_center)


def _project(count: int, generator: torch.Generator) -> Warp:
    """Corners that cross, or that lose their order, are drawn again."""
    corners = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=torch.float64) * FRAME
    targets = FRAME / 2 + _uniform(0.75, 1, (count, 1, 1), generator) * (corners - FRAME / 2)
    moved, regular = targets, torch.zeros(count, dtype=torch.bool)
    while not regular.all():
        again = targets + 5 * torch.randn(count, 4, 2, generator=generator, dtype=torch.float64)
        moved = torch.where(regular[:, None, None], moved, again)
        warp = MatrixWarp(_matrix_of_corners(corners.expand(count, 4, 2), moved), FRAME)
        regular = warp.is_regular()
    return warp


def _matrix_of_corners(before: Tensor, after: Tensor) -> Tensor:
    """Homographies (n, 3, 3) that move four points (n, 4, 2) each to others: eight linear equations."""
    ones, zeros = torch.ones_like(before[..., :1]), torch.zeros_like(before)
    point, nothing = torch.cat([before, ones], -1), torch.cat([zeros, zeros[..., :1]], -1)
    rows = [
        torch.cat([point, nothing, -after[..., :1] * before], -1),
        torch.cat([nothing, point, -after[..., 1:] * before], -1),
    ]
    solution = torch.linalg.solve(torch.cat(rows, 1), torch.cat([after[..., 0], after[..., 1]], 1))
    return torch.cat([solution, torch.ones_like(solution[:, :1])], 1).view(-1, 3, 3)


def _bend(count: int, generator: torch.Generator) -> Warp:
    pixels = 1.5 * torch.randn(count, 16, 2, generator=generator, dtype=torch.float64)
    return ThinPlateWarp(pixels / frame_unit((FRAME, FRAME)), FRAME)

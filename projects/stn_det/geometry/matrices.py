"""3x3 matrices that map source to destination points in pixels.

Convention:
    ``dst_from_src @ (x, y, 1)``. Name a matrix by its frames, so that products can be read:
    ``crop_from_image = crop_from_rotated @ rotated_from_image``. Python numbers give float64, which the functions that
    apply a matrix use for the computation, not for the result.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from stn_det.errors import InputError

Number = float | Tensor


def _as_tensors(*values: Number) -> list[Tensor]:
    """Broadcast numbers and tensors; numbers alone become float64."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    like = tensors[0] if tensors else torch.empty((), dtype=torch.float64)
    dtype = torch.promote_types(like.dtype, torch.float32)
    return list(torch.broadcast_tensors(*(torch.as_tensor(v, dtype=dtype, device=like.device) for v in values)))


def _matrix(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Stack two rows of three entries each, and the row (0, 0, 1), to (..., 3, 3)."""
    zero = torch.zeros_like(rows[0][0])
    rows = [*rows, (zero, zero, torch.ones_like(zero))]
    return torch.stack([torch.stack(list(row), dim=-1) for row in rows], dim=-2)


def translation(x: Number, y: Number) -> Tensor:
    """Matrix that moves points by (x, y).

    Args:
        x: Pixels to the right, a number or a tensor (...).
        y: Pixels down, likewise.

    Returns:
        (..., 3, 3) dst_from_src; float64 for numbers.
    """
    x, y = _as_tensors(x, y)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _matrix([(one, zero, x), (zero, one, y)])


def scaling(x: Number, y: Number, center: Sequence[float] = (0.0, 0.0)) -> Tensor:
    """Matrix that scales points about a centre; a factor of -1 mirrors.

    Args:
        x: Factor along x, a number or a tensor (...).
        y: Factor along y, likewise.
        center: Fixed point (cx, cy), pixels.

    Returns:
        (..., 3, 3) dst_from_src; float64 for numbers.

    Raises:
        InputError: If ``center`` is not a pair.
    """
    cx, cy = _pair(center)
    x, y = _as_tensors(x, y)
    zero = torch.zeros_like(x)
    return _matrix([(x, zero, cx - x * cx), (zero, y, cy - y * cy)])


def rotation_matrix(theta: Number, center: Sequence[float] = (0.0, 0.0)) -> Tensor:
    """Matrix that turns points about a centre, clockwise on screen for theta > 0.

    Args:
        theta: Radians, a number or a tensor (...).
        center: Fixed point (cx, cy), pixels.

    Returns:
        (..., 3, 3) dst_from_src; float64 for numbers.

    Raises:
        InputError: If ``center`` is not a pair.
    """
    cx, cy = _pair(center)
    (angle,) = _as_tensors(theta)
    cos, sin = angle.cos(), angle.sin()
    return _matrix([(cos, -sin, cx - cos * cx + sin * cy), (sin, cos, cy - sin * cx - cos * cy)])


def opencv_matrix(dst_from_src: Tensor) -> Tensor:
    """The same warp for OpenCV, which counts pixel centres 0, 1, 2 where this package has 0.5, 1.5, 2.5.

    Give the result to ``cv2.warpPerspective``, or its first two rows to ``cv2.warpAffine``. With the matrix as it is,
    an image that is scaled or turned ends up next to its boxes: half a pixel off for a factor of 2.

    Args:
        dst_from_src: (3, 3) in continuous pixels.

    Returns:
        (3, 3) float64 in OpenCV's index coordinates.
    """
    matrix = dst_from_src.double()
    half = translation(0.5, 0.5).to(matrix.device)
    return torch.linalg.solve(half, matrix @ half)


def _pair(center: Sequence[float]) -> tuple[float, float]:
    if len(center) != 2:
        raise InputError(f'center must be a pair (x, y) in pixels, got {len(center)} numbers: {center!r}')
    return float(center[0]), float(center[1])

"""Points and boxes under 3x3 matrices: affine maps and homographies.

Convention:
    ``dst_from_src`` maps source to destination points in continuous pixels. It is (3, 3), or (..., 3, 3) with leading
    dimensions that broadcast against those of the points or boxes: boxes (B, N, 5) take matrices (B, 1, 3, 3).
    Points on the horizon of a homography go very far away, to finite coordinates.
"""

import torch
from torch import Tensor

from stn_det.errors import InputError

from ._compute import check_last, compute_dtype, result_dtype, safe_atan2, safe_hypot, safe_sqrt
from .angles import canonicalize_rboxes
from .conversions import hbox_to_qbox, qbox_to_hbox


def transform_points(points: Tensor, dst_from_src: Tensor) -> Tensor:
    """Map points.

    Args:
        points: (..., 2) source points, pixels.
        dst_from_src: (3, 3) or broadcastable (..., 3, 3).

    Returns:
        (..., 2) destination points, the dtype of ``points``.

    Raises:
        InputError: If a shape does not fit.
    """
    check_last('points', points, 2)
    matrix, dtype = _matrix(dst_from_src, points)
    x, y, _ = _project(points[..., 0].to(dtype), points[..., 1].to(dtype), matrix)
    return torch.stack([x, y], dim=-1).to(result_dtype(points))


def transform_qboxes(qboxes: Tensor, dst_from_src: Tensor) -> Tensor:
    """Map quadrilaterals corner by corner, exact for affine maps and homographies.

    Corner i stays corner i, so a reflection turns the order from clockwise to counter-clockwise.

    Args:
        qboxes: (..., 8) source corners, pixels.
        dst_from_src: (3, 3) or broadcastable (..., 3, 3).

    Returns:
        (..., 8) destination corners.

    Raises:
        InputError: If a shape does not fit.
    """
    check_last('qboxes', qboxes, 8)
    _check_matrix(dst_from_src)
    per_corner = dst_from_src if dst_from_src.dim() <= 2 else dst_from_src[..., None, :, :]
    return transform_points(qboxes.unflatten(-1, (4, 2)), per_corner).flatten(-2)


def transform_hboxes(hboxes: Tensor, dst_from_src: Tensor) -> Tensor:
    """Horizontal boxes around the mapped corners of horizontal boxes.

    Args:
        hboxes: (..., 4) source boxes (x1, y1, x2, y2), pixels.
        dst_from_src: (3, 3) or broadcastable (..., 3, 3).

    Returns:
        (..., 4) destination boxes.

    Raises:
        InputError: If a shape does not fit.
    """
    check_last('hboxes', hboxes, 4)
    return qbox_to_hbox(transform_qboxes(hbox_to_qbox(hboxes), dst_from_src))


def transform_gaussians(mean: Tensor, covariance: Tensor, dst_from_src: Tensor) -> tuple[Tensor, Tensor]:
    """Map Gaussians: ``mean' = f(mean)`` and ``covariance' = J covariance J^T`` with the Jacobian J at the mean.

    Args:
        mean: (..., 2) source means, pixels.
        covariance: (..., 2, 2) source covariances, square pixels.
        dst_from_src: (3, 3) or broadcastable (..., 3, 3).

    Returns:
        mean (..., 2) and covariance (..., 2, 2) in the destination; exact for affine maps.

    Raises:
        InputError: If a shape does not fit.
    """
    check_last('mean', mean, 2)
    if covariance.shape[-2:] != (2, 2):
        raise InputError(f'covariance must have shape (..., 2, 2), got {tuple(covariance.shape)}; give full matrices')
    matrix, dtype = _matrix(dst_from_src, mean)
    x, y, ((a, b), (c, d)) = _project(mean[..., 0].to(dtype), mean[..., 1].to(dtype), matrix)
    xx, xy, yy = (covariance[..., i, j].to(dtype) for i, j in ((0, 0), (0, 1), (1, 1)))
    new_xx = a * a * xx + 2 * a * b * xy + b * b * yy
    new_xy = a * c * xx + (a * d + b * c) * xy + b * d * yy
    new_yy = c * c * xx + 2 * c * d * xy + d * d * yy
    rows = [torch.stack([new_xx, new_xy], dim=-1), torch.stack([new_xy, new_yy], dim=-1)]
    return (
        torch.stack([x, y], dim=-1).to(result_dtype(mean)),
        torch.stack(rows, dim=-2).to(result_dtype(covariance)),
    )


def transform_rboxes(rboxes: Tensor, dst_from_src: Tensor, form: str = 'le90') -> Tensor:
    """Map rotated boxes.

    A similarity (shift, turn, equal scale, mirror) maps a rectangle to a rectangle, and the result is exact. Any other
    map makes a parallelogram of it (a homography through its Jacobian at the centre); the result is then the rectangle
    whose corners lie nearest to those of the parallelogram in the least squares sense, scaled to its area. The area
    changes by exactly ``|det J|``, and the result is continuous in the map: a square under a scale of (1.001, 1) keeps
    its angle, which the principal axes of ``J covariance J^T`` would turn to 0 (:func:`transform_gaussians`).

    The w side of the source stays the w side until ``form`` is applied, so ``form='full'`` keeps a heading: theta then
    is the direction to which the map takes the source's heading. A singular matrix gives boxes of zero area.

    Args:
        rboxes: (..., 5) source boxes, pixels and radians.
        dst_from_src: (3, 3) or broadcastable (..., 3, 3).
        form: Canonical form of the result, see :func:`canonicalize_rboxes`.

    Returns:
        (..., 5) destination boxes, the dtype of ``rboxes``; bit for bit the input for the identity, if that is in
        the form asked for.

    Raises:
        InputError: If a shape does not fit or the form is unknown.
    """
    check_last('rboxes', rboxes, 5)
    matrix, dtype = _matrix(dst_from_src, rboxes)
    cx, cy, w, h, theta = rboxes.to(dtype).unbind(-1)
    x, y, jacobian = _project(cx, cy, matrix)
    (a, b), (c, d) = jacobian
    turns, mirrors = (a == d) & (b == -c), (a == -d) & (b == c)
    scale, angle = safe_hypot(a, c), safe_atan2(c, a)
    fit_w, fit_h, fit_theta = _nearest_rectangle(w, h, theta, jacobian)
    similar = turns | mirrors
    new_w, new_h = torch.where(similar, w * scale, fit_w), torch.where(similar, h * scale, fit_h)
    new_theta = torch.where(turns, theta + angle, torch.where(mirrors, angle - theta, fit_theta))
    boxes = torch.stack(torch.broadcast_tensors(x, y, new_w, new_h, new_theta), dim=-1)
    return canonicalize_rboxes(boxes.to(result_dtype(rboxes)), form)


Jacobian = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def _nearest_rectangle(w: Tensor, h: Tensor, theta: Tensor, jacobian: Jacobian) -> tuple[Tensor, Tensor, Tensor]:
    """Rectangle nearest to the parallelogram that a Jacobian makes of a box, with the parallelogram's area.

    With p and q the images of the unit vectors along w and h, the axes (r1, r2) of the rectangle maximise
    ``w^2 (r1.p)^2 + h^2 (r2.q)^2``, whose stationary angle has a closed form in the doubled angle. That angle lies
    between p and q turned back by a right angle (-q for a mirror image, which is the same rectangle), hence neither
    r1.p nor r2.q is 0 unless J is singular.
    """
    (a, b), (c, d) = jacobian
    cos, sin = theta.cos(), theta.sin()
    px, py = a * cos + b * sin, c * cos + d * sin
    qx, qy = b * cos - a * sin, d * cos - c * sin
    empty = (w == 0) & (h == 0)  # no side to weigh the two directions by
    weight_w, weight_h = w.square().masked_fill(empty, 1), h.square().masked_fill(empty, 1)
    doubled_sin = 2 * (weight_w * px * py - weight_h * qx * qy)
    doubled_cos = weight_w * (px * px - py * py) - weight_h * (qx * qx - qy * qy)
    new = safe_atan2(doubled_sin, doubled_cos) / 2
    rx, ry = new.cos(), new.sin()
    behind = rx * px + ry * py < 0  # the half angle is known up to a half turn: follow the image of the w axis
    new = torch.where(behind, new + torch.pi, new)
    along, across = (rx * px + ry * py).abs(), (rx * qy - ry * qx).abs()
    product = along * across
    fit = safe_sqrt(torch.where(product > 0, (a * d - b * c).abs() / product.masked_fill(product <= 0, 1), 1))
    return w * along * fit, h * across * fit, new


def _check_matrix(dst_from_src: Tensor) -> None:
    if not isinstance(dst_from_src, Tensor) or dst_from_src.shape[-2:] != (3, 3):
        got = tuple(dst_from_src.shape) if hasattr(dst_from_src, 'shape') else type(dst_from_src).__name__
        raise InputError(
            f'dst_from_src must be a torch.Tensor of shape (3, 3) or (..., 3, 3), got {got}; '
            f'add the row (0, 0, 1) to a 2x3 affine matrix, use torch.as_tensor on a numpy array'
        )


def _matrix(dst_from_src: Tensor, other: Tensor) -> tuple[Tensor, torch.dtype]:
    """Checked matrix in the type of the computation, on the device of the points or boxes."""
    _check_matrix(dst_from_src)
    dtype = compute_dtype(other, dst_from_src)
    return dst_from_src.to(device=other.device, dtype=dtype), dtype


def _project(x: Tensor, y: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor, Jacobian]:
    """Mapped coordinates and the Jacobian there, written out by hand so that autocast leaves the precision alone."""
    m = [[matrix[..., i, j] for j in range(3)] for i in range(3)]
    depth = m[2][0] * x + m[2][1] * y + m[2][2]
    tiny = torch.finfo(depth.dtype).tiny ** 0.25  # its inverse squared is still finite
    depth = torch.where(depth.abs() < tiny, torch.full_like(depth, tiny).copysign(depth.detach()), depth)
    new_x = (m[0][0] * x + m[0][1] * y + m[0][2]) / depth
    new_y = (m[1][0] * x + m[1][1] * y + m[1][2]) / depth
    row_x = (m[0][0] - new_x * m[2][0]) / depth, (m[0][1] - new_x * m[2][1]) / depth
    row_y = (m[1][0] - new_y * m[2][0]) / depth, (m[1][1] - new_y * m[2][1]) / depth
    return new_x, new_y, (row_x, row_y)

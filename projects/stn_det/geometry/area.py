"""Areas of boxes."""

import torch
from torch import Tensor

from ._compute import check_last, compute_dtype, result_dtype


def rbox_area(rboxes: Tensor) -> Tensor:
    """Area w * h of rotated boxes.

    Args:
        rboxes: (..., 5) boxes, pixels and radians.

    Returns:
        (...) square pixels.

    Raises:
        InputError: If the last dimension is not 5.
    """
    check_last('rboxes', rboxes, 5)
    return (rboxes[..., 2] * rboxes[..., 3]).to(result_dtype(rboxes))


def qbox_area(qboxes: Tensor) -> Tensor:
    """Area of quadrilaterals, never negative, whatever the order of their corners.

    Args:
        qboxes: (..., 8) corners, pixels.

    Returns:
        (...) square pixels; of a self-intersecting quadrilateral the difference of its two triangles.

    Raises:
        InputError: If the last dimension is not 8.
    """
    check_last('qboxes', qboxes, 8)
    corners = qboxes.to(compute_dtype(qboxes)).unflatten(-1, (4, 2))
    # Half the cross product of the diagonals: differences first, so that a far away box keeps its digits.
    first, second = corners[..., 2, :] - corners[..., 0, :], corners[..., 3, :] - corners[..., 1, :]
    cross = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
    return torch.abs(cross / 2).to(result_dtype(qboxes))

"""Rotated boxes as two-dimensional Gaussians, and back.

The covariance is that of "Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss"
(https://arxiv.org/abs/2101.11952) and of its successors KLD and KFIoU: its square root is
``R(theta) diag(w/2, h/2) R(theta)^T``, so one standard deviation reaches the middle of each side.
"""

import torch
from torch import Tensor

from stn_det.errors import InputError

from ._compute import check_last, compute_dtype, result_dtype, safe_atan2, safe_hypot, safe_sqrt
from .angles import canonicalize_rboxes


def rbox_to_gaussian(rboxes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of rotated boxes.

    Args:
        rboxes: (..., 5) boxes, pixels and radians.

    Returns:
        mean (..., 2) in pixels and covariance (..., 2, 2) in square pixels,
        ``R diag(w^2 / 4, h^2 / 4) R^T``. Half precision inputs give float32: a square of a size overflows fp16.

    Raises:
        InputError: If the last dimension is not 5.
    """
    check_last('rboxes', rboxes, 5)
    boxes = rboxes.to(compute_dtype(rboxes))
    w, h, theta = boxes[..., 2], boxes[..., 3], boxes[..., 4]
    cos, sin = theta.cos(), theta.sin()
    along, across = w.square() / 4, h.square() / 4
    xx = along * cos * cos + across * sin * sin
    yy = along * sin * sin + across * cos * cos
    xy = (along - across) * cos * sin
    covariance = torch.stack([torch.stack([xx, xy], dim=-1), torch.stack([xy, yy], dim=-1)], dim=-2)
    return boxes[..., :2], covariance


def gaussian_to_rbox(mean: Tensor, covariance: Tensor) -> Tensor:
    """Rotated boxes whose Gaussians have the given mean and covariance.

    A circular Gaussian does not tell the angle of its square: it gives theta = 0. Gradients are finite everywhere, but
    that of the angle grows without bound as a box nears a square.

    Args:
        mean: (..., 2) centres, pixels.
        covariance: (..., 2, 2) symmetric, positive semi-definite, square pixels.

    Returns:
        (..., 5) boxes in the form 'le90'.

    Raises:
        InputError: If the shapes are not (..., 2) and (..., 2, 2).
    """
    check_last('mean', mean, 2)
    check_last('covariance', covariance, 2)
    if covariance.shape[-2:] != (2, 2):
        raise InputError(f'covariance must have shape (..., 2, 2), got {tuple(covariance.shape)}; give full matrices')
    dtype = compute_dtype(mean, covariance)
    centre, cov = mean.to(dtype), covariance.to(dtype)
    xx, yy = cov[..., 0, 0], cov[..., 1, 1]
    xy = (cov[..., 0, 1] + cov[..., 1, 0]) / 2
    middle, half_gap = (xx + yy) / 2, safe_hypot((xx - yy) / 2, xy)
    w, h = 2 * safe_sqrt(middle + half_gap), 2 * safe_sqrt(middle - half_gap)
    theta = safe_atan2(2 * xy, xx - yy) / 2
    rboxes = torch.cat([centre, torch.stack([w, h, theta], dim=-1)], dim=-1)
    return canonicalize_rboxes(rboxes).to(result_dtype(mean))

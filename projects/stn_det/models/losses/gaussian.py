"""Distances between oriented boxes read as Gaussians: KLD, GWD and ProbIoU, in closed form.

A box (cx, cy, w, h, theta) is the Gaussian with mean (cx, cy) and standard deviations w/2, h/2 along its own axes. All
three distances see only the covariance, so the le90 seam and the swap of sides that comes with it cost nothing.
Everything is written in the frame of the target box, where only the angle between the two boxes appears: no matrix is
inverted, and large image coordinates lose no digits.
"""

import torch
from torch import Tensor

# Sides are kept above this many pixels: the logarithms of an untrained or a degenerate box stay finite.
MIN_SIDE = 1e-2


def _relative(pred: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    """Centre offset in the target's frame, both boxes' sides and the squared cosine and sine between them."""
    shift = pred[..., :2] - target[..., :2]
    cos, sin = target[..., 4].cos(), target[..., 4].sin()
    along = shift[..., 0] * cos + shift[..., 1] * sin
    across = shift[..., 1] * cos - shift[..., 0] * sin
    sides_pred = pred[..., 2:4].clamp(min=MIN_SIDE)
    sides_target = target[..., 2:4].clamp(min=MIN_SIDE)
    turn = pred[..., 4] - target[..., 4]
    return (along, across, *sides_pred.unbind(-1), *sides_target.unbind(-1), turn.cos(), turn.sin())


def kld_distance(pred: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the predicted from the target Gaussian.

    Proposed for boxes in "Learning High-Precision Bounding Box for Rotated Object Detection via Kullback-Leibler
    Divergence" https://arxiv.org/abs/2106.01883

    Args:
        pred: ``(..., 5)`` boxes (cx, cy, w, h, theta), pixels and radians.
        target: ``(..., 5)`` boxes in the same frame.

    Returns:
        ``(...,)`` divergence, 0 for equal boxes, invariant to a common scaling of both boxes.
    """
    along, across, w, h, w_t, h_t, cos, sin = _relative(pred, target)
    centre = 4 * ((along / w_t) ** 2 + (across / h_t) ** 2)
    spread = (w * cos / w_t) ** 2 + (h * sin / w_t) ** 2 + (w * sin / h_t) ** 2 + (h * cos / h_t) ** 2
    volume = 2 * (w_t.log() - w.log() + h_t.log() - h.log())
    return (0.5 * (centre + spread + volume) - 1).clamp(min=0)


def gwd_distance(pred: Tensor, target: Tensor) -> Tensor:
    """Scale-normalised Gaussian Wasserstein distance.

    Proposed for boxes in "Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss"
    https://arxiv.org/abs/2101.11952

    Args:
        pred: ``(..., 5)`` boxes (cx, cy, w, h, theta), pixels and radians.
        target: ``(..., 5)`` boxes in the same frame.

    Returns:
        ``(...,)`` distance divided by the geometric mean of the four half sides, 0 for equal boxes.
    """
    along, across, w, h, w_t, h_t, cos, sin = _relative(pred, target)
    # trace of the product of the covariances, and the root of its determinant
    product = ((w * w_t * cos) ** 2 + (h * w_t * sin) ** 2 + (w * h_t * sin) ** 2 + (h * h_t * cos) ** 2) / 16
    root = w * h * w_t * h_t / 16
    coupling = 2 * (product + 2 * root).sqrt()
    spread = (w**2 + h**2 + w_t**2 + h_t**2) / 4 - coupling
    squared = (along**2 + across**2 + spread).clamp(min=1e-12)
    return squared.sqrt() / root.sqrt().sqrt()


def probiou_distance(pred: Tensor, target: Tensor) -> Tensor:
    """Hellinger distance between the boxes' Gaussians, one minus ProbIoU.

    Proposed in "Gaussian Bounding Boxes and Probabilistic Intersection-over-Union for Object Detection"
    https://arxiv.org/abs/2106.06072, with variances w^2/12 and h^2/12 as in the paper.

    Args:
        pred: ``(..., 5)`` boxes (cx, cy, w, h, theta), pixels and radians.
        target: ``(..., 5)`` boxes in the same frame.

    Returns:
        ``(...,)`` distance in [0, 1], 0 for equal boxes.
    """
    along, across, w, h, w_t, h_t, cos, sin = _relative(pred, target)
    sum_xx = ((w * cos) ** 2 + (h * sin) ** 2 + w_t**2) / 12
    sum_yy = ((w * sin) ** 2 + (h * cos) ** 2 + h_t**2) / 12
    sum_xy = (w**2 - h**2) * sin * cos / 12
    det = (sum_xx * sum_yy - sum_xy**2).clamp(min=1e-12)
    mahalanobis = (sum_yy * along**2 + sum_xx * across**2 - 2 * sum_xy * along * across) / det
    log_ratio = (det / (4 * w * h * w_t * h_t / 144)).clamp(min=1e-12).log()
    bhattacharyya = (0.25 * mahalanobis + 0.5 * log_ratio).clamp(min=1e-7, max=100.0)
    return (-torch.expm1(-bhattacharyya)).sqrt()

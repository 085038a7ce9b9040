"""Distances between oriented boxes read as Gaussians: KLD, Jeffreys, GWD, Bhattacharyya, ProbIoU, in closed form.

A box (cx, cy, w, h, theta) is the Gaussian with mean (cx, cy) and standard deviations w/2, h/2 along its own axes. All
distances see only the covariance, so the le90 seam and the swap of sides that comes with it cost nothing.
Everything is written in the frame of the target box, where only the angle between the two boxes appears: no matrix is
inverted, and large image coordinates lose no digits.
"""

import torch
from torch import Tensor

# Sides are kept above this many pixels: the logarithms of an untrained or a degenerate box stay finite.
MIN_SIDE = 1e-2


def relative(pred: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    """Eight tensors ``(...,)``: centre offset in the target's frame, sides of both, cosine and sine between them."""
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
    along, across, w, h, w_t, h_t, cos, sin = relative(pred, target)
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
    along, across, w, h, w_t, h_t, cos, sin = relative(pred, target)
    # trace of the product of the covariances, and the root of its determinant
    product = ((w * w_t * cos) ** 2 + (h * w_t * sin) ** 2 + (w * h_t * sin) ** 2 + (h * h_t * cos) ** 2) / 16
    root = w * h * w_t * h_t / 16
    coupling = 2 * (product + 2 * root).sqrt()
    spread = (w**2 + h**2 + w_t**2 + h_t**2) / 4 - coupling
    squared = (along**2 + across**2 + spread).clamp(min=1e-12)
    return squared.sqrt() / root.sqrt().sqrt()


def jd_distance(pred: Tensor, target: Tensor) -> Tensor:
    """Jeffreys divergence: the mean of the Kullback-Leibler divergences in both directions.

    Among the variants of "Learning High-Precision Bounding Box for Rotated Object Detection via Kullback-Leibler
    Divergence" https://arxiv.org/abs/2106.01883

    Args:
        pred: ``(..., 5)`` boxes (cx, cy, w, h, theta), pixels and radians.
        target: ``(..., 5)`` boxes in the same frame.

    Returns:
        ``(...,)`` divergence, 0 for equal boxes, symmetric, invariant to a common scaling of both boxes.
    """
    return 0.5 * (kld_distance(pred, target) + kld_distance(target, pred))


def bcd_distance(pred: Tensor, target: Tensor) -> Tensor:
    """Bhattacharyya distance of the boxes' Gaussians.

    Used for boxes in "Gaussian Bounding Boxes and Probabilistic Intersection-over-Union for Object Detection"
    https://arxiv.org/abs/2106.06072; here with the standard deviations w/2 and h/2 of the other distances.

    Args:
        pred: ``(..., 5)`` boxes (cx, cy, w, h, theta), pixels and radians.
        target: ``(..., 5)`` boxes in the same frame.

    Returns:
        ``(...,)`` distance, 0 for equal boxes, symmetric, invariant to a common scaling of both boxes.
    """
    return _bhattacharyya(pred, target, 4.0).clamp(min=0)


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
    bhattacharyya = _bhattacharyya(pred, target, 12.0).clamp(min=1e-7, max=100.0)
    return (-torch.expm1(-bhattacharyya)).sqrt()


def _bhattacharyya(pred: Tensor, target: Tensor, divisor: float) -> Tensor:
    """Bhattacharyya distance ``(...,)`` of Gaussians with the variances w^2 and h^2 over ``divisor``.

    The sum of two covariances A and B has the determinant ``|A| + |B| + tr(adj(A) B)``, and adj(A + B) is adj(A) +
    adj(B): sums of squares, where nothing cancels however long a box is.
    """
    along, across, w, h, w_t, h_t, cos, sin = relative(pred, target)
    along_pred, across_pred = along * cos + across * sin, across * cos - along * sin
    det = det_of_sum(w, h, w_t, h_t, cos, sin)
    adjugate = (h_t * along) ** 2 + (w_t * across) ** 2 + (h * along_pred) ** 2 + (w * across_pred) ** 2
    log_ratio = det.log() - (4 * w * h * w_t * h_t).log()
    return 0.25 * divisor * adjugate / det + 0.5 * log_ratio


def det_of_sum(w: Tensor, h: Tensor, w_t: Tensor, h_t: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Determinant of ``R diag(w^2, h^2) R^T + diag(w_t^2, h_t^2)``, R the turn with this cosine and sine."""
    mixed = (h * w_t * cos) ** 2 + (w * w_t * sin) ** 2 + (h * h_t * sin) ** 2 + (w * h_t * cos) ** 2
    return (w * h) ** 2 + (w_t * h_t) ** 2 + mixed

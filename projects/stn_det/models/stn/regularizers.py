"""Losses that keep a spatial transformer from paying with the image: shrinking it, or pushing it out of the frame.

All are scalars, 0 for the identity and for an empty batch, and differentiable.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...checks import check_float_shape
from ...errors import InputError
from ...geometry.warp import Warp
from ...geometry.warp.families import frame_unit


def parameter_loss(parameters: Tensor) -> Tensor:
    """Mean square of the parameters of warps (N, P): a prior towards the identity."""
    return _mean(parameters.square())


def area_loss(warp: Warp, grid: int = 8) -> Tensor:
    """Mean squared logarithm of the change of area, at grid x grid points of the destination.

    A scale of 2 costs ``log(4)^2``, as does 1/2. Infinite where a warp is singular, NaN behind a horizon, which
    bounded parameters do not reach.
    """
    return _mean(warp.inverse().log_det(grid).square())


def coverage_loss(warp: Warp, grid: int = 8) -> Tensor:
    """How far outside of the destination the source lands.

    Args:
        warp: N maps.
        grid: Looked at are grid x grid points of the source.

    Returns:
        Mean distance of all points, 0 for those inside: along x plus along y, in units of half the square root of the
        destination's area, as shifts have in :class:`stn_det.geometry.warp.WarpLimits`.
    """
    height, width = warp.dst_size
    x, y = warp.transform_points(warp.frame_points(grid)).unbind(-1)
    outside = (-x).relu() + (x - width).relu() + (-y).relu() + (y - height).relu()
    return _mean(outside / frame_unit(warp.dst_size))


def bending_loss(parameters: Tensor) -> Tensor:
    """How far thin plates are from affine maps: their bending energy, by differences of the control points.

    Args:
        parameters: (N, G * G * 2) displacements of a G x G grid, as a transformer of family 'thin_plate' gives them.

    Returns:
        Mean of ``d_xx^2 + 2 d_xy^2 + d_yy^2`` over the points that have these differences; 0 if G is 2.

    Raises:
        InputError: If the numbers are not those of a square grid.
    """
    check_float_shape('parameters', parameters, ('N', 'G * G * 2'))
    grid = round((parameters.shape[1] / 2) ** 0.5)
    if 2 * grid**2 != parameters.shape[1]:
        raise InputError(f'parameters have shape {tuple(parameters.shape)}, expected (N, G * G * 2) for a square grid')
    points = parameters.unflatten(1, (grid, grid, 2))
    along, across = points.diff(n=2, dim=2), points.diff(n=2, dim=1)
    both = points.diff(dim=1).diff(dim=2)
    return _mean(along.square()) + 2 * _mean(both.square()) + _mean(across.square())


def orientation_prior_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of the scores of turns (N, num_orientations) to the first: these images are upright.

    Teaches an orientation localiser what upright means, and keeps it there; for images that were not turned by
    augmentation, or turned back.
    """
    upright = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return F.cross_entropy(logits.float(), upright, reduction='sum') / max(len(logits), 1)


def pose_prior_loss(parameters: Tensor, sigma: Tensor, prior: float) -> Tensor:
    """Kullback-Leibler divergence of sampled poses from a normal prior around the identity.

    "Probabilistic Spatial Transformer Networks" https://arxiv.org/abs/2004.03637. Without it the spread of sampled
    poses vanishes, since every other loss is lower without noise. 0 where parameters are 0 and sigma is the prior.

    Args:
        parameters: (N, P).
        sigma: (N, P) standard deviations, positive.
        prior: Standard deviation of the prior, in the same units.

    Returns:
        Mean over N and P.

    Raises:
        InputError: If the prior is not positive.
    """
    if not prior > 0:
        raise InputError(f'prior is {prior!r}, expected a standard deviation above 0')
    ratio = (sigma / prior).square()
    return _mean(((parameters / prior).square() + ratio - 1 - ratio.log()) / 2)


def _mean(values: Tensor) -> Tensor:
    """Mean, 0 of nothing."""
    return values.sum() / max(values.numel(), 1)

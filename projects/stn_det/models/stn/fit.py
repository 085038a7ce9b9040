"""The warp of a family that agrees best with displacements measured at many places."""

import torch
from torch import Tensor

from ...geometry.warp.families import FAMILIES, GENERATORS, frame_unit

RIDGE = 1e-3  # of the weight that full confidence everywhere would have: without any match, nothing moves


def fit_displacements(
    points: Tensor, moves: Tensor, weights: Tensor, family: str, size: tuple[int, int], scale: float
) -> Tensor:
    """Parameters of the small warp that maps points to ``points + moves``, by weighted least squares.

    To first order in the parameters, which repeated measurement makes exact. Fitted twice: the second time a
    displacement that is a distance d off the first fit counts ``1 / (1 + (d / scale)^2)`` times as much, since cells
    without a counterpart are found anywhere. No host read, any number of places.

    Args:
        points: (P, 2) places (x, y), pixels.
        moves: (N, P, 2) displacements there, pixels.
        weights: (N, P) in [0, 1].
        family: Name in :data:`stn_det.geometry.warp.FAMILIES`.
        size: (height, width) of the frame, pixels.
        scale: Error of a displacement that is to be expected, pixels.

    Returns:
        (N, Q) parameters for :func:`stn_det.geometry.warp.warp_matrix`, differentiable in moves and weights.
    """
    unit = frame_unit(size)
    center = points.new_tensor([size[1] / 2, size[0] / 2])
    fields = _fields((points - center) / unit, family)  # (P, 2, Q)
    with torch.autocast(moves.device.type, enabled=False):
        found = _solve(fields, moves / unit, weights)
        away = (torch.einsum('paq,nq->npa', fields, found) - moves / unit).norm(dim=-1) * (unit / scale)
        return _solve(fields, moves / unit, weights / (1 + away.detach().square()))


def _solve(fields: Tensor, moves: Tensor, weights: Tensor) -> Tensor:
    """Parameters (N, Q) that fit moves (N, P, 2) with weights (N, P)."""
    count = fields.shape[-1]
    squares = torch.einsum('paq,par->pqr', fields, fields).flatten(1)
    normal = (weights @ squares).unflatten(1, (count, count))
    right = torch.einsum('npa,paq->nq', weights[..., None] * moves, fields)
    ridge = RIDGE * fields.shape[0] * torch.eye(count, dtype=normal.dtype, device=normal.device)
    # solve_ex leaves the check for singular matrices out, which the ridge excludes and a GPU would wait for
    solution: Tensor = torch.linalg.solve_ex(normal + ridge, right[..., None])[0]
    return solution[..., 0]


def _fields(points: Tensor, family: str) -> Tensor:
    """Velocity (P, 2, Q) of points (P, 2) in units about the centre under each generator of a family."""
    generators = points.new_tensor([GENERATORS[name] for name in FAMILIES[family]])  # (Q, 3, 3)
    homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], dim=1)
    velocity = torch.einsum('qab,pb->paq', generators, homogeneous)
    return velocity[:, :2] - points[:, :, None] * velocity[:, 2:]

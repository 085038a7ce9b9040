"""Thin-plate spline warps: a grid of control points in the destination, each with where it looks in the source.

F. L. Bookstein, *Principal warps: thin-plate splines and the decomposition of deformations*, 1989. The spline
interpolates displacements rather than positions, so that displacements of 0 give exactly the identity.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from stn_det.checks import check_float_shape
from stn_det.errors import InputError

from .base import Size, Warp, pixel_centers
from .composite import InverseWarp
from .families import frame_unit

NEWTON_STEPS = 20
LONGEST_STEP = 0.5  # units; what a step may not exceed while Newton's method is still far from the solution


class ThinPlateWarp(Warp):
    """A batch of splines of a frame onto itself.

    The source point that a destination point shows is in closed form, which is what resampling and predictions need.
    The other direction, for labels, is solved by Newton's method to 1e-9 pixels where the spline does not fold
    (:meth:`is_regular`); its gradient is that of the implicit function.

    Args:
        displacements: (N, G * G, 2) floating (x, y): source minus destination at the control points, row by row over
            the frame from its first to its last corner, in units of half the square root of the frame's area.
        size: (height, width) of both frames, pixels.

    Raises:
        InputError: If the shape does not fit, or G is below 2.
    """

    def __init__(self, displacements: Tensor, size: int | Size) -> None:
        check_float_shape('displacements', displacements, ('N', 'G * G', 2))
        super().__init__(size, size, displacements.device)
        self.grid = round(displacements.shape[1] ** 0.5)
        if self.grid < 2 or self.grid**2 != displacements.shape[1]:
            raise InputError(
                f'displacements have shape {tuple(displacements.shape)}, expected (N, G * G, 2) with G of 2 or more: a '
                f'square grid of control points'
            )
        self.displacements = displacements.double()
        solve = _solution(self.grid, self.src_size).to(self.device)
        with torch.autocast(self.device.type, enabled=False):
            self._weights = solve @ self.displacements  # (N, G * G + 3, 2)

    @classmethod
    def from_parameters(cls, parameters: Tensor, size: int | Size, limit: float | None = None) -> ThinPlateWarp:
        """Splines from parameters without bounds.

        Args:
            parameters: (N, G * G * 2) displacements, each point's x and y.
            size: (height, width), pixels.
            limit: Bounds each by ``limit * tanh(parameter / limit)``; at a fifth of the distance of control points
                splines hardly ever fold.

        Raises:
            InputError: If the shape does not fit or the limit is not positive.
        """
        if limit is not None and not limit > 0:
            raise InputError(f'limit is {limit!r}, expected a number above 0, or None for none')
        check_float_shape('parameters', parameters, ('N', 'G * G * 2'))
        bounded = parameters if limit is None else limit * torch.tanh(parameters / limit)
        return cls(bounded.unflatten(1, (-1, 2)), size)

    def __len__(self) -> int:
        return self.displacements.shape[0]

    def __getitem__(self, index: int | slice | Tensor) -> ThinPlateWarp:
        return ThinPlateWarp(self.displacements[index].view(-1, self.grid**2, 2), self.src_size)

    def detach(self) -> ThinPlateWarp:
        """The same maps without a gradient."""
        return ThinPlateWarp(self.displacements.detach(), self.src_size)

    def inverse(self) -> Warp:
        """The spline the other way round, from destination to source points."""
        return InverseWarp(self)

    def _source_points(self) -> Tensor:
        centers = pixel_centers(self.dst_size, 1, self.device)[0]
        unit = frame_unit(self.src_size)
        # one table for all images, and float32: displacements are small, the centres themselves are exact
        table = self._features(self._normalize(centers)).float()
        with torch.autocast(self.device.type, enabled=False):
            moves = table @ (self._weights * unit).float()
        return (centers.float() + moves).unflatten(1, self.dst_size)

    def _backward(self, points: Tensor) -> Tensor:
        """Source (N, P, 2) of destination points (N, P, 2)."""
        with torch.autocast(self.device.type, enabled=False):
            moves = self._features(self._normalize(points)) @ self._weights
        return points + frame_unit(self.src_size) * moves

    def _backward_jacobian(self, points: Tensor) -> Tensor:
        """Derivatives (N, P, 2, 2) of ``_backward``: row by source coordinate, column by destination coordinate."""
        away = self._normalize(points)[..., None, :] - self._control_points()
        squared = away.square().sum(-1, keepdim=True)
        slopes = 2 * away * (torch.where(squared > 0, squared, 1).log() + 1)  # (N, P, G * G, 2)
        weights = self._weights[:, None]
        linear = torch.eye(2, dtype=points.dtype, device=points.device) + weights[..., -2:, :].mT
        return linear + (weights[..., :-3, :, None] * slopes[..., None, :]).sum(-3)

    def _forward(self, points: Tensor) -> Tensor:
        fixed = self.detach()
        found = fixed._solve(points.detach())
        if not (points.requires_grad or self.displacements.requires_grad):
            return found
        miss = self._backward(found) - points  # 0 in value: one more step carries the gradient
        return found - _divide(fixed._backward_jacobian(found), miss)

    def _solve(self, points: Tensor) -> Tensor:
        found, longest = points, LONGEST_STEP * frame_unit(self.src_size)
        for _ in range(NEWTON_STEPS):
            step = _divide(self._backward_jacobian(found), self._backward(found) - points)
            length = step.norm(dim=-1, keepdim=True)
            found = found - step * (longest / length.clamp(min=longest))
        return found

    def _jacobian(self, points: Tensor) -> Tensor:
        (a, b), (c, d) = (row.unbind(-1) for row in self._backward_jacobian(self._forward(points)).unbind(-2))
        adjugate = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
        return adjugate / (a * d - b * c)[..., None, None]

    def _control_points(self) -> Tensor:
        return _control_points(self.grid, self.src_size).to(self.device)

    def _normalize(self, points: Tensor) -> Tensor:
        center = points.new_tensor([self.src_size[1] / 2, self.src_size[0] / 2])
        return (points - center) / frame_unit(self.src_size)

    def _features(self, normalized: Tensor) -> Tensor:
        return _features(normalized, self._control_points())


def _control_points(grid: int, size: Size) -> Tensor:
    """Control points (G * G, 2) float64 in units about the centre."""
    reach = torch.linspace(-1, 1, grid, dtype=torch.float64)
    unit = 2 * frame_unit(size)
    y, x = torch.meshgrid(reach * (size[0] / unit), reach * (size[1] / unit), indexing='ij')
    return torch.stack([x, y], dim=-1).view(-1, 2)


def _features(points: Tensor, control: Tensor) -> Tensor:
    """Radial functions of control points, 1, x and y at points (..., 2): (..., G * G + 3)."""
    squared = (points[..., None, :] - control).square().sum(-1)
    radial = squared * torch.where(squared > 0, squared, 1).log()
    return torch.cat([radial, torch.ones_like(points[..., :1]), points], dim=-1)


@lru_cache(maxsize=32)
def _solution(grid: int, size: Size) -> Tensor:
    """Matrix (G * G + 3, G * G) that makes weights of displacements."""
    control = _control_points(grid, size)
    features = _features(control, control)
    system = torch.zeros(grid**2 + 3, grid**2 + 3, dtype=torch.float64)
    system[: grid**2] = features
    system[grid**2 :, : grid**2] = features[:, -3:].T
    return torch.linalg.inv(system)[:, : grid**2]


def _divide(matrix: Tensor, vector: Tensor) -> Tensor:
    """Solution x (..., 2) of ``matrix @ x = vector``."""
    (a, b), (c, d) = (row.unbind(-1) for row in matrix.unbind(-2))
    x, y = vector.unbind(-1)
    return torch.stack([d * x - b * y, a * y - c * x], dim=-1) / (a * d - b * c)[..., None]

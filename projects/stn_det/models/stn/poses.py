"""How updates become warps: matrices are multiplied, displacements of thin plates added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import ConfigError, InputError
from ...geometry.warp import MatrixWarp, ThinPlateWarp, Warp, WarpLimits, bound, num_parameters


class Pose(NamedTuple):
    """A warp of images and how it came about.

    Args:
        warp: Everything so far.
        parameters: (N, P) float64, the sum of all updates.
        turn: What came before the first update, None for nothing.
    """

    warp: Warp
    parameters: Tensor
    turn: MatrixWarp | None = None


class _Poses:
    """What both kinds have in common."""

    num_parameters: int

    def start(self, count: int, size: tuple[int, int], device: torch.device) -> Pose:
        """The identity for ``count`` images of a size (height, width)."""
        parameters = torch.zeros(count, self.num_parameters, dtype=torch.float64, device=device)
        return Pose(MatrixWarp.identity(count, size, device), parameters)

    def turned(self, pose: Pose, angles: Tensor) -> Pose:
        """The start turned clockwise on screen by angles (N,) in radians."""
        turn = MatrixWarp.from_parameters(angles[:, None], 'rotation', pose.warp.src_size)
        return pose._replace(warp=turn, turn=turn)


class MatrixPoses(_Poses):
    """Updates of a family in :data:`stn_det.geometry.warp.FAMILIES`, each after those before it.

    Args:
        family: Name of the family.
        limits: Of the sum of all updates, arguments of :class:`WarpLimits`.
        num_steps: Updates in all.

    Raises:
        InputError: If a limit is unknown or not positive.
    """

    def __init__(self, family: str, limits: Mapping[str, float] | None, num_steps: int) -> None:
        names = [field.name for field in fields(WarpLimits)]
        _check_limits(limits, names)
        whole = WarpLimits(**(limits or {}))
        self.family, self.num_parameters = family, num_parameters(family)
        self.limits = replace(whole, **{name: getattr(whole, name) / num_steps for name in names})

    def step(self, pose: Pose, raw: Tensor) -> Pose:
        """The pose after an update by raw numbers (N, P)."""
        update = bound(raw, self.family, self.limits)
        warp = MatrixWarp.from_parameters(update, self.family, pose.warp.src_size)
        return pose._replace(warp=warp.after(pose.warp), parameters=pose.parameters + update)


class SplinePoses(_Poses):
    """Displacements of the control points of a thin plate, added up.

    Args:
        grid: Control points along each side.
        limits: ``dict(displacement=...)`` of the sum of all updates; a fifth of the distance of control points if None.
        num_steps: Updates in all.

    Raises:
        InputError: If a limit is unknown or not positive.
        ConfigError: If the grid is below 2.
    """

    def __init__(self, grid: int, limits: Mapping[str, float] | None, num_steps: int) -> None:
        if grid < 2:
            raise ConfigError(f'grid is {grid}, expected 2 or more control points along each side')
        _check_limits(limits, ['displacement'])
        limit = (limits or {}).get('displacement', 0.4 / (grid - 1))
        if not limit > 0:
            raise InputError(f'limits.displacement is {limit!r}, expected a number above 0')
        self.num_parameters = 2 * grid**2
        self.limit = limit / num_steps

    def step(self, pose: Pose, raw: Tensor) -> Pose:
        """The pose after an update by raw numbers (N, P)."""
        update = raw if self.limit == inf else self.limit * torch.tanh(raw / self.limit)
        parameters = pose.parameters + update
        spline = ThinPlateWarp.from_parameters(parameters, pose.warp.src_size)
        return pose._replace(warp=spline if pose.turn is None else spline.after(pose.turn), parameters=parameters)


def _check_limits(limits: Mapping[str, float] | None, names: list[str]) -> None:
    unknown = sorted(set(limits or {}) - set(names))
    if unknown:
        raise InputError(f'limits names {", ".join(unknown)}; expected some of {", ".join(names)}')

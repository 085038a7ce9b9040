"""Families of warps by few parameters: Lie algebra coordinates, bounded, the identity at 0.

Convention:
    Parameters act about the centre of the source frame, in units of half the square root of its area, so that they mean
    the same for every resolution. A warp is the exponential of the sum of parameters times generators: 0 is the
    identity, a parameter alone with opposite sign is the inverse.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, log, pi, sqrt

import torch
from torch import Tensor

from stn_det.checks import check_choice, check_float_shape
from stn_det.errors import InputError

from ._exponential import matrix_exponential

GENERATORS: dict[str, tuple[tuple[float, ...], ...]] = {
    'rotation': ((0, -1, 0), (1, 0, 0), (0, 0, 0)),  # radians, clockwise on screen
    'log_scale': ((1, 0, 0), (0, 1, 0), (0, 0, 0)),
    'stretch': ((1, 0, 0), (0, -1, 0), (0, 0, 0)),  # x by e, y by 1/e
    'skew': ((0, 1, 0), (1, 0, 0), (0, 0, 0)),  # the same along the diagonals
    'shift_x': ((0, 0, 1), (0, 0, 0), (0, 0, 0)),
    'shift_y': ((0, 0, 0), (0, 0, 1), (0, 0, 0)),
    'tilt_x': ((0, 0, 0), (0, 0, 0), (1, 0, 0)),
    'tilt_y': ((0, 0, 0), (0, 0, 0), (0, 1, 0)),
}
FAMILIES: dict[str, tuple[str, ...]] = {
    'translation': ('shift_x', 'shift_y'),
    'rotation': ('rotation',),
    'similarity': ('rotation', 'log_scale', 'shift_x', 'shift_y'),
    'affine': ('rotation', 'log_scale', 'stretch', 'skew', 'shift_x', 'shift_y'),
    'homography': ('rotation', 'log_scale', 'stretch', 'skew', 'shift_x', 'shift_y', 'tilt_x', 'tilt_y'),
}


@dataclass(frozen=True)
class WarpLimits:
    """Largest absolute value of each parameter.

    Args:
        rotation: Radians; infinite for no limit, since angles come round.
        log_scale: ``log 2``: between half and double.
        stretch: Also for ``skew``; ``log 1.5`` makes an axis 1.5 times longer and the other shorter.
        shift: Also for each of x and y, in units of half the square root of the frame's area.
        tilt: For each of x and y; the depth changes by this much over one unit, and reaches 0 where the horizon is.
    """

    rotation: float = pi
    log_scale: float = log(2)
    stretch: float = log(1.5)
    shift: float = 0.5
    tilt: float = 0.15

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise InputError(f'{name} is {value!r}, expected a limit above 0; leave a parameter out by the family')

    def of(self, name: str) -> float:
        """Limit of a parameter of :data:`FAMILIES`."""
        return {'skew': self.stretch}.get(name, getattr(self, name.removesuffix('_x').removesuffix('_y'), inf))


def num_parameters(family: str) -> int:
    """Number of parameters of a family.

    Raises:
        InputError: If there is no such family.
    """
    check_choice('family', family, tuple(FAMILIES))
    return len(FAMILIES[family])


def bound(raw: Tensor, family: str, limits: WarpLimits | Mapping[str, float] | None = None) -> Tensor:
    """Parameters within limits from numbers without any: ``limit * tanh(raw / limit)``, of slope 1 at 0.

    Args:
        raw: (..., P) for a family of P parameters.
        family: Name in :data:`FAMILIES`.
        limits: :class:`WarpLimits` or its arguments; the defaults if None.

    Returns:
        (..., P), the dtype of ``raw``.

    Raises:
        InputError: If the family is unknown, a limit is not positive or the number of parameters does not fit.
    """
    count = num_parameters(family)
    if raw.shape[-1:] != (count,):
        raise InputError(f'raw has shape {tuple(raw.shape)}, expected (..., {count}) for the family {family!r}')
    limits = limits if isinstance(limits, WarpLimits) else WarpLimits(**(limits or {}))
    columns = []
    for value, name in zip(raw.unbind(-1), FAMILIES[family]):
        limit = limits.of(name)
        columns.append(value if limit == inf else limit * torch.tanh(value / limit))
    return torch.stack(columns, dim=-1)


def warp_matrix(parameters: Tensor, family: str, size: tuple[int, int]) -> Tensor:
    """Matrices of warps from their parameters.

    Args:
        parameters: (N, P) floating, in the order of :data:`FAMILIES`; see there and :data:`GENERATORS` for the units.
        family: 'translation', 'rotation', 'similarity', 'affine' or 'homography'.
        size: (height, width) of the frame, pixels.

    Returns:
        (N, 3, 3) float64 dst_from_src in continuous pixels; exactly the identity where all parameters are 0.

    Raises:
        InputError: If the family is unknown or the shape does not fit.
    """
    check_float_shape('parameters', parameters, ('N', num_parameters(family)))
    with torch.autocast(parameters.device.type, enabled=False):
        values = parameters.double()
        basis = values.new_tensor([GENERATORS[name] for name in FAMILIES[family]])
        exponential = matrix_exponential((values[:, :, None, None] * basis).sum(1))
    return _about_center(exponential, size)


def _about_center(centered: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixels for units about the centre, entry by entry, so that an identity stays one bit for bit."""
    unit, cx, cy = frame_unit(size), size[1] / 2, size[0] / 2
    (a, b, tx), (c, d, ty), (p, q, w) = ([row[..., i] for i in range(3)] for row in centered.unbind(-2))
    p, q = p / unit, q / unit
    depth = w - p * cx - q * cy
    rows = []
    for (along, across, shift), center in (((a, b, tx), cx), ((c, d, ty), cy)):
        along, across = along + center * p, across + center * q
        rows.append((along, across, (shift * unit + center * w) - (along * cx + across * cy)))
    return torch.stack([torch.stack(row, dim=-1) for row in (*rows, (p, q, depth))], dim=-2)


def frame_unit(size: tuple[int, int]) -> float:
    """Pixels of one unit of length: half the square root of the frame's area."""
    return sqrt(size[0] * size[1]) / 2

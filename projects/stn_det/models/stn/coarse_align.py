"""One warp for a pair of feature maps: correlate, fit, warp, again.

"Iterative Deep Homography Estimation" https://arxiv.org/abs/2203.15982 correlates the warped features again with the
same weights; here a least-squares fit of the family takes the place of its regression network.
"""

from collections.abc import Mapping
from math import log
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import ConfigError
from ...geometry.warp import bound, num_parameters, warp_matrix
from ...geometry.warp.base import pixel_centers
from ...ops import warp_sample
from .correlation import find_peak, local_correlation
from .fit import fit_displacements

LIMITS = dict(rotation=0.3, log_scale=0.2, stretch=0.1, shift=0.5, tilt=0.05)
# The gates start at 0 and work at about 1, for which steps of 1e-3 would take a thousand iterations.
GATE_SPEED = 10.0
SHARPNESS = 10.0  # of the softmax at the start: narrow enough for a peak, wide enough for a gradient


class CoarseMatch(NamedTuple):
    """What :class:`CoarseAlign` found, for N pairs of H x W cells.

    Attributes:
        estimates: ``second_from_first`` (N, 3, 3) float64 in pixels after each iteration; no gradient leads from one to
            the one before.
        searched: The estimates around which each iteration searched: the identity, then the estimates before.
        logits: Correlation volume (N, K * K, H, W) of each iteration, before the softmax.
        confidence: (N, 1, H, W) in [0, 1] of the last iteration, see :func:`find_peak`.
    """

    estimates: list[Tensor]
    searched: list[Tensor]
    logits: list[Tensor]
    confidence: Tensor


class CoarseAlign(nn.Module):
    """Estimates a warp in weight-tied iterations; the identity at the start.

    Args:
        family: Name in :data:`stn_det.geometry.warp.FAMILIES`.
        limits: Limits of its parameters, arguments of ``WarpLimits``; those not given are as in :data:`LIMITS`.
        radius: Window of the correlation, cells to each side.
        support: Cells, along each axis, whose correlations are averaged: a patch is found more surely than a cell. Odd.
        iterations: Number of estimates.

    Raises:
        InputError: If the family or a limit is none.
        ConfigError: If another setting makes no sense.
    """

    def __init__(
        self, family: str, limits: Mapping[str, float] | None, radius: int, support: int, iterations: int
    ) -> None:
        super().__init__()
        if radius < 1 or iterations < 1 or support < 1 or support % 2 == 0:
            raise ConfigError(
                f'CrossSensorAlign: radius is {radius}, iterations {iterations}, support {support}; expected at least '
                f'1 of each, and an odd support'
            )
        self.family, self.limits = family, {**LIMITS, **(limits or {})}
        bound(torch.zeros(num_parameters(family)), family, self.limits)  # refuses limits that make no sense
        self.radius, self.support, self.iterations = radius, support, iterations
        self.log_sharpness = nn.Parameter(torch.tensor(log(SHARPNESS)))
        self.gate = nn.Parameter(torch.zeros(num_parameters(family)))

    def reset_gate(self) -> None:
        """Make the estimate the identity."""
        nn.init.zeros_(self.gate)

    def forward(self, first: Tensor, second: Tensor, stride: int, size: tuple[int, int]) -> CoarseMatch:
        """Estimate.

        Args:
            first: (N, C, H, W) unit vectors a cell, float32.
            second: The same of the second sensor.
            stride: Pixels a cell.
            size: (height, width) of the frame, pixels.
        """
        cells = pixel_centers(tuple(first.shape[-2:]), 1, first.device)[0].float() * stride  # (P, 2)
        parameters = first.new_zeros(first.shape[0], len(self.gate))
        estimates, searched, volumes = [self._matrix(parameters, size)], [], []
        for _ in range(self.iterations):
            searched.append(estimates[-1].detach())
            volumes.append(self._correlate(first, warp_level(second, searched[-1], stride)))
            moves, confidence = find_peak(volumes[-1])
            moves = moves.flatten(2).mT * stride  # (N, P, 2) pixels
            step = fit_displacements(cells, moves, confidence.flatten(1), self.family, size, stride)
            parameters = parameters.detach() + GATE_SPEED * self.gate * step
            estimates.append(self._matrix(parameters, size))
        return CoarseMatch(estimates[1:], searched, volumes, confidence)

    def _correlate(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits (N, K * K, H, W) of the displacements of patches."""
        volume = local_correlation(first, F.normalize(second, dim=1, eps=1e-6), self.radius)
        patches = F.avg_pool2d(volume, self.support, 1, self.support // 2, count_include_pad=False)
        return self.log_sharpness.exp() * patches

    def _matrix(self, parameters: Tensor, size: tuple[int, int]) -> Tensor:
        return warp_matrix(bound(parameters, self.family, self.limits), self.family, size)


def warp_level(level: Tensor, second_from_first: Tensor, stride: float) -> Tensor:
    """The second sensor's level in the frame of the first; 0 where the second sensor saw nothing.

    Args:
        level: (N, C, H, W).
        second_from_first: (N, 3, 3) pixels of the input.
        stride: Pixels a cell.
    """
    in_cells = second_from_first.new_tensor([[1, 1, 1 / stride], [1, 1, 1 / stride], [stride, stride, 1]])
    return warp_sample(level, second_from_first * in_cells, tuple(level.shape[-2:]))

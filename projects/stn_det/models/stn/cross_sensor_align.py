"""Brings the features of a second sensor into the frame of the first: a coarse warp, then small residual offsets."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import ConfigError, InputError
from ...geometry import transform_points
from ...geometry.warp import MatrixWarp
from ...geometry.warp.base import pixel_centers
from ...ops import remap
from ..layers.levels import check_levels, check_strides, frame_size
from .align_losses import corner_loss, flow_loss, match_loss, read_truth, smoothness
from .coarse_align import CoarseAlign, warp_level
from .correlation import unit_features
from .residual_flow import ResidualFlow

Levels = tuple[Tensor, ...]
# The match loss starts at the logarithm of the places in the window, about 4; the others well below 1.
LOSS_WEIGHTS = dict(corner=1.0, match=0.2, flow=1.0, smooth=0.1, inverse=0.0)


@MODELS.register_module()
class CrossSensorAlign(BaseModule):
    """Moves the second sensor's levels onto the first's.

    **Coarse.** Both sensors' features of one level are brought into a shared space (a convolution for each sensor, then
    instance normalisation, which takes gain and offset of a sensor away) and correlated in a window. Every cell's best
    match gives a displacement, and the warp of the chosen family that agrees best with all of them, by least squares
    weighted with how far each match stands out, is added to the estimate. The second sensor's features are warped by it
    and correlated again, with the same weights: as in "Iterative Deep Homography Estimation"
    https://arxiv.org/abs/2203.15982 and, without a second image, "Inverse Compositional Spatial Transformer Networks"
    https://arxiv.org/abs/1612.03897. Nothing depends on the size of the images.

    **Residual.** On fine levels a small network adds bounded offsets, for parallax and what the family cannot describe;
    on coarse ones these are a small part of a cell, and left out.

    Each level is resampled once, by both together. Gates start at zero, so that an untrained module passes features on
    bit for bit.

    Convention:
        ``second_from_first`` maps points of the first image to points of the second, in continuous pixels of the
        network's input; it is what sampling needs, and what ``second_from_first`` in the metadata of a sample holds
        where the truth is known. ``info['warp']`` is the way of boxes, from the second sensor to the first.

    Args:
        in_channels: Channels of each level of the first sensor.
        strides: Pixels a cell of each level, finest first.
        second_channels: As ``in_channels``, of the second; None: the same.
        embed_channels: Channels of the shared space.
        family: Coarse warp: 'translation', 'rotation', 'similarity', 'affine' or 'homography'. The one of fewest
            parameters that can describe the sensors' misalignment is the most exact.
        limits: Limits of its parameters, arguments of ``WarpLimits``; those not given are as in
            :data:`~stn_det.models.stn.coarse_align.LIMITS`.
        coarse_stride: Stride of the level that is correlated.
        radius: Window of the correlation, cells to each side; this times ``coarse_stride`` is the largest displacement
            that the first iteration sees.
        support: Cells, along each axis, whose correlations are averaged: a patch is found more surely than a cell. Odd.
        iterations: Estimates of the warp.
        residual_strides: Strides of the levels with residual offsets; those that are no level are passed over.
        max_residual: Largest residual in x and in y, pixels.
        loss_weights: Factors of the terms of :meth:`loss`; those not given are as in :data:`LOSS_WEIGHTS`, 0 leaves a
            term out.
        init_cfg: Weight initialisation.

    Raises:
        ConfigError: If the settings do not fit each other.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> align = MODELS.build(dict(type='CrossSensorAlign', in_channels=[16, 32], strides=(8, 16)))
        >>> first, second = ([torch.rand(1, 16, 8, 12), torch.rand(1, 32, 4, 6)] for sensor in range(2))
        >>> aligned, info = align(first, second)
        >>> [torch.equal(a, b) for a, b in zip(aligned, second)]  # not trained yet
        [True, True]
        >>> info['warp'].transform_points(torch.tensor([[[9.0, 5.0]]])).tolist()
        [[[9.0, 5.0]]]
        >>> [tuple(level.shape) for level in info['confidence']]
        [(1, 1, 8, 12), (1, 1, 4, 6)]
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int] = (8, 16, 32),
        second_channels: Sequence[int] | None = None,
        embed_channels: int = 32,
        family: str = 'translation',
        limits: Mapping[str, float] | None = None,
        coarse_stride: int = 8,
        radius: int = 4,
        support: int = 5,
        iterations: int = 3,
        residual_strides: Sequence[int] = (4, 8),
        max_residual: float = 8.0,
        loss_weights: Mapping[str, float] | None = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.strides = check_strides('CrossSensorAlign', strides)
        self.first_channels = list(in_channels)
        self.second_channels = list(in_channels if second_channels is None else second_channels)
        self._check_settings(coarse_stride, max_residual)
        self.coarse_stride, self.max_residual = coarse_stride, max_residual
        self.residual_strides = [stride for stride in reversed(self.strides) if stride in residual_strides]
        self.loss_weights = _merge_weights(loss_weights)
        self.coarse = CoarseAlign(family, limits, radius, support, iterations)
        self.residuals = nn.ModuleDict({str(stride): ResidualFlow(embed_channels) for stride in self.residual_strides})
        self.embeddings = nn.ModuleDict()
        for stride in sorted({coarse_stride, *self.residual_strides}):
            self.embeddings[str(stride)] = self._embedding(self.strides.index(stride), embed_channels)

    def _embedding(self, level: int, width: int) -> nn.ModuleList:
        """Ways of both sensors into the shared space."""
        channels = self.first_channels[level], self.second_channels[level]
        first, second = (nn.Conv2d(each, width, 1) for each in channels)
        if channels[0] == channels[1]:  # alike, as both backbones often are at the start: matches are found at once
            second.load_state_dict(first.state_dict())
        return nn.ModuleList([first, second])

    def init_weights(self) -> None:
        """As ``init_cfg`` says, but for what makes the module pass features on untouched."""
        super().init_weights()
        self.coarse.reset_gate()
        for residual in self.residuals.values():
            residual.reset_flow()

    def forward(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> tuple[Levels, dict[str, Any]]:
        """Align.

        Args:
            first: (N, C_l, H_l, W_l) of each level of the first sensor, finest first.
            second: (N, D_l, H_l, W_l) of the second.

        Returns:
            The second sensor's levels in the frame of the first, with the shapes and dtypes of ``second``, 0 where the
            second sensor saw nothing; and a dictionary: ``warp``, a MatrixWarp that maps points of the second sensor to
            points of the first, pixels; ``flows``, by stride (N, 2, H_l, W_l) offsets (x, y) in pixels that are added
            to where ``warp`` finds a cell of the first in the second; ``confidence``, for each level (N, 1, H_l, W_l),
            in [0, 1], how far a cell's match stands out of the others; and what :meth:`loss` needs.

        Raises:
            InputError: If the levels do not fit the strides, the channels or each other.
        """
        size = self._check_inputs(first, second)
        ours, theirs = (self._embed(levels, sensor) for sensor, levels in enumerate((first, second)))
        with torch.autocast(first[0].device.type, enabled=False):
            match = self.coarse(ours[self.coarse_stride], theirs[self.coarse_stride], self.coarse_stride, size)
            flows = self._residual(ours, theirs, match.estimates[-1])
        info = dict(match=match, flows=flows, size=size)
        info['warp'] = MatrixWarp(match.estimates[-1], size).inverse()
        info['confidence'] = _resize(match.confidence, first)
        if self.training and self.loss_weights['inverse'] > 0:
            pair = theirs[self.coarse_stride], ours[self.coarse_stride]
            with torch.autocast(first[0].device.type, enabled=False):
                info['back'] = self.coarse(*pair, self.coarse_stride, size)
        moved = [self._resample(level, stride, info) for level, stride in zip(second, self.strides)]
        return tuple(moved), info

    def _embed(self, levels: Sequence[Tensor], sensor: int) -> dict[int, Tensor]:
        """Features of a sensor in the shared space by stride, unit vectors a cell."""
        embedded = {}
        for stride, pair in self.embeddings.items():
            embedded[int(stride)] = unit_features(pair[sensor](levels[self.strides.index(int(stride))]))
        return embedded

    def _residual(
        self, ours: dict[int, Tensor], theirs: dict[int, Tensor], second_from_first: Tensor
    ) -> dict[int, Tensor]:
        """Bounded offsets by stride, pixels; coarser levels first, which finer ones add to."""
        flows, flow = {}, None
        for stride in self.residual_strides:
            warped = warp_level(theirs[stride], second_from_first.detach(), stride)
            flow = self.residuals[str(stride)](ours[stride], warped, flow)
            flows[stride] = self.max_residual * torch.tanh(flow / self.max_residual)
        return flows

    @staticmethod
    def _resample(level: Tensor, stride: int, info: dict[str, Any]) -> Tensor:
        """A level of the second sensor in the frame of the first, read once."""
        second_from_first = info['match'].estimates[-1]
        if stride not in info['flows']:
            return warp_level(level, second_from_first, stride)
        found = _cells_in_second(second_from_first, stride, info['size']) + info['flows'][stride]
        return remap(level, found.permute(0, 2, 3, 1) / stride)

    def loss(self, info: dict[str, Any], batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of an alignment.

        Pairs whose metadata have ``second_from_first`` are supervised by it; without any these terms are 0.

        Args:
            info: What :meth:`forward` returned.
            batch_data_samples: N samples.

        Returns:
            ``loss_align_corner``, distance of the corners of the frame in cells of the coarse level;
            ``loss_align_match``, cross entropy of the cells' matches, where the window reaches the truth;
            ``loss_align_flow``, distance of the residual offsets in cells of their level, where the truth is within
            their bounds; ``loss_align_smooth``, their change from cell to cell in pixels; and ``loss_align_inverse``,
            by which there and back misses the corners. Terms of weight 0 are left out.

        Raises:
            InputError: If a ``second_from_first`` is no (3, 3) matrix.
        """
        match, flows, size, stride = info['match'], info['flows'], info['size'], self.coarse_stride
        truth, known = read_truth(batch_data_samples, match.confidence.device)
        terms = dict(corner=corner_loss(match.estimates, truth, known, size, stride))
        terms['match'] = match_loss(match, _cells_in_second(truth, stride, size), known, stride, size)
        if flows:
            coarse = match.estimates[-1].detach()
            left = {each: _cells_in_second(truth, each, size) - _cells_in_second(coarse, each, size) for each in flows}
            terms['flow'] = flow_loss(flows, left, known, self.max_residual)
            terms['smooth'] = torch.stack([smoothness(flow) for flow in flows.values()]).mean()
        if 'back' in info:
            there_and_back = info['back'].estimates[-1] @ match.estimates[-1]
            unmoved = torch.eye(3, dtype=truth.dtype, device=truth.device).expand_as(truth)
            terms['inverse'] = corner_loss([there_and_back], unmoved, torch.ones_like(known), size, stride)
        weights = self.loss_weights
        return {f'loss_align_{name}': weights[name] * term for name, term in terms.items() if weights[name] > 0}

    def _check_settings(self, coarse_stride: int, max_residual: float) -> None:
        if not len(self.strides) == len(self.first_channels) == len(self.second_channels):
            raise ConfigError(
                f'CrossSensorAlign: strides is {self.strides}, in_channels {self.first_channels} and second_channels '
                f'{self.second_channels}; expected one entry of each a level'
            )
        if coarse_stride not in self.strides:
            raise ConfigError(f'CrossSensorAlign: coarse_stride is {coarse_stride}; expected one of {self.strides}')
        if not max_residual > 0:
            raise ConfigError(
                f'CrossSensorAlign: max_residual is {max_residual}; expected pixels above 0, or residual_strides=()'
            )

    def _check_inputs(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> tuple[int, int]:
        """Size of the frame, pixels."""
        check_levels('CrossSensorAlign, first sensor', first, self.strides, self.first_channels)
        check_levels('CrossSensorAlign, second sensor', second, self.strides, self.second_channels)
        for level, (a, b) in enumerate(zip(first, second)):
            if a.shape[0] != b.shape[0] or a.shape[-2:] != b.shape[-2:]:
                raise InputError(
                    f'CrossSensorAlign: level {level} of the first sensor has shape {tuple(a.shape)}, of the second '
                    f'{tuple(b.shape)}; expected equal N, H and W: bring the second image into the frame of the first'
                )
        return frame_size('CrossSensorAlign', first, self.strides)


def _merge_weights(given: Mapping[str, float] | None) -> dict[str, float]:
    unknown = sorted(set(given or {}) - set(LOSS_WEIGHTS))
    if unknown:
        raise ConfigError(f'CrossSensorAlign: loss_weights has {unknown}; expected names among {sorted(LOSS_WEIGHTS)}')
    return {**LOSS_WEIGHTS, **(given or {})}


def _cells_in_second(second_from_first: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Where matrices (N, 3, 3) see the centres of a level's cells in the second image: (N, 2, H, W) float64, pixels."""
    height, width = (-(-length // stride) for length in size)
    cells = pixel_centers((height, width), 1, second_from_first.device)[0] * stride
    return transform_points(cells, second_from_first[:, None]).mT.unflatten(2, (height, width))


def _resize(confidence: Tensor, levels: Sequence[Tensor]) -> Levels:
    """A map (N, 1, H, W) at the sizes of all levels."""
    sizes = [level.shape[-2:] for level in levels]
    return tuple(F.interpolate(confidence, size=size, mode='bilinear', align_corners=False) for size in sizes)

"""Features of oriented regions, each from the pyramid level that fits its size."""

from collections.abc import Sequence

import torch
from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptMultiConfig
from torch import Tensor, nn

from ....errors import ConfigError, InputError
from ....ops import roi_align_rotated

# mmcv took either name of these; configs of the field use the first ones.
_ALIASES = {'out_size': 'output_size', 'sample_num': 'sampling_ratio'}


class _RoIAlignRotated(nn.Module):
    """``roi_align_rotated`` of one level, with a gradient to the regions."""

    def __init__(
        self,
        spatial_scale: float,
        output_size: int | Sequence[int],
        sampling_ratio: int,
        clockwise: bool,
        aligned: bool,
    ) -> None:
        super().__init__()
        pair = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
        self.output_size: tuple[int, int] = (int(pair[0]), int(pair[1]))
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.clockwise = clockwise
        self.aligned = aligned

    def forward(self, feature: Tensor, rois: Tensor) -> Tensor:
        """Regions ``(R, 6)`` of a map ``(N, C, H, W)`` as ``(R, C, along h, along w)``."""
        return roi_align_rotated(
            feature, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned, self.clockwise
        )


@MODELS.register_module()
class RotatedSingleRoIExtractor(BaseRoIExtractor):
    """RoIAlign of oriented regions on the pyramid level that their area asks for.

    A region of sqrt(w * h) pixels is read from level ``floor(log2(sqrt(w * h) / finest_scale))`` within the levels that
    exist, as in "Feature Pyramid Networks for Object Detection" https://arxiv.org/abs/1612.03144. The sampling points
    turn with the region, as in "Learning RoI Transformer for Detecting Oriented Objects in Aerial Images"
    https://arxiv.org/abs/1812.00155, and the gradient of the features reaches centre, sides and angle of a region that
    asks for it; which level is read bears none.

    Args:
        roi_layer: ``dict(type='RoIAlignRotated', out_size=7, sample_num=2, clockwise=True)``: bins along h and w;
            points a bin and axis, 0 for one a feature pixel; and the sense of theta, which in this package is
            clockwise on screen. ``output_size`` and ``sampling_ratio`` are other names of the first two;
            ``aligned=False`` is mmcv's former half pixel off.
        out_channels: channels of the levels.
        featmap_strides: strides of the levels that are read, finest first.
        finest_scale: sqrt(w * h) in pixels below twice of which a region is read from the finest level.
        init_cfg: part of mmdet's interface; there are no weights.

    Raises:
        ConfigError: for another ``roi_layer``, or one with unknown options.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> layer = dict(type='RoIAlignRotated', out_size=7, sample_num=2)
        >>> extractor = MODELS.build(
        ...     dict(type='RotatedSingleRoIExtractor', roi_layer=layer, out_channels=8, featmap_strides=[4, 8])
        ... )
        >>> levels = [torch.rand(2, 8, 32, 32), torch.rand(2, 8, 16, 16)]
        >>> extractor(levels, torch.tensor([[1.0, 60.0, 50.0, 40.0, 10.0, 0.3]])).shape
        torch.Size([1, 8, 7, 7])
    """

    def __init__(
        self,
        roi_layer: ConfigType,
        out_channels: int,
        featmap_strides: list[int],
        finest_scale: float = 56,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(roi_layer, out_channels, featmap_strides, init_cfg)
        self.finest_scale = finest_scale

    def build_roi_layers(self, layer_cfg: ConfigType, featmap_strides: list[int]) -> nn.ModuleList:
        """One layer for each level.

        Args:
            layer_cfg: ``roi_layer``.
            featmap_strides: pixels a feature pixel, of each level.

        Returns:
            The layers.

        Raises:
            ConfigError: for a type other than 'RoIAlignRotated', or an option that it does not have.
        """
        options = {_ALIASES.get(name, name): value for name, value in layer_cfg.items()}
        kind = options.pop('type', None)
        known = {'output_size', 'sampling_ratio', 'clockwise', 'aligned'}
        if kind != 'RoIAlignRotated' or set(options) - known or 'output_size' not in options:
            raise ConfigError(
                f"roi_layer is {dict(layer_cfg)}; expected dict(type='RoIAlignRotated', out_size=...) and at most "
                f'sample_num, clockwise and aligned besides'
            )
        size, points = options['output_size'], options.get('sampling_ratio', 0)
        turn, aligned = options.get('clockwise', True), options.get('aligned', True)
        return nn.ModuleList(_RoIAlignRotated(1 / stride, size, points, turn, aligned) for stride in featmap_strides)

    def map_roi_levels(self, rois: Tensor, num_levels: int) -> Tensor:
        """Level ``(R,)`` of each of the regions ``(R, 6)``, counted from the finest; 0 for one that is not finite."""
        scale = (rois[:, 3] * rois[:, 4]).clamp(min=0).sqrt()
        level = torch.log2(scale / self.finest_scale + 1e-6).floor().nan_to_num(0, num_levels, 0)
        return level.clamp(0, num_levels - 1).long()

    def forward(self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """Features of regions.

        Args:
            feats: one ``(N, C, H_l, W_l)`` map a level.
            rois: ``(R, 6)`` as (batch index, cx, cy, w, h, theta) in pixels of the input and radians.
            roi_scale_factor: both sides of the regions are multiplied by this; the level stays.

        Returns:
            ``(R, C, along h, along w)`` in the dtype of the maps. For no regions it is empty and still hangs on the
            graph of the maps.

        Raises:
            InputError: if regions are not six numbers each, or levels and strides differ in number.
        """
        if rois.dim() != 2 or rois.shape[1] != 6:
            raise InputError(
                f'rois has shape {tuple(rois.shape)}, expected (R, 6) as (batch index, cx, cy, w, h, theta)'
            )
        if len(feats) != len(self.roi_layers):
            raise InputError(f'{len(feats)} levels came; expected {len(self.roi_layers)}, one for each stride')
        level = self.map_roi_levels(rois.detach(), len(feats))
        if roi_scale_factor is not None:
            rois = torch.cat([rois[:, :3], rois[:, 3:5] * roi_scale_factor, rois[:, 5:]], 1)
        members = [(level == number).nonzero()[:, 0] for number in range(len(feats))]
        parts = [
            layer(feature, rois[chosen])
            for layer, feature, chosen in zip(self.roi_layers, feats, members)
            if chosen.numel()
        ]
        if not parts:
            return self.roi_layers[0](feats[0], rois)
        return torch.cat(parts)[torch.cat(members).argsort()]

"""A feature pyramid that aligns a coarse level with the finer one before it adds them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.necks import FPN
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from torch import Tensor, nn

from ...errors import ConfigError, InputError
from ...geometry.warp.base import pixel_centers
from ...ops import remap


class FlowAlign(nn.Module):
    """Moves an enlarged coarse map by offsets that it and the fine map suggest; the identity at the start.

    Args:
        channels: Channels of both maps.
        width: Channels inside.
        max_offset: Largest offset in x and in y, cells of the fine map.
    """

    def __init__(self, channels: int, width: int, max_offset: float) -> None:
        super().__init__()
        self.max_offset = max_offset
        self.reduce = ConvModule(2 * channels, width, 1, norm_cfg=dict(type='GN', num_groups=8))
        self.flow = nn.Conv2d(width, 2, 3, padding=1)
        self.reset_flow()

    def reset_flow(self) -> None:
        """Make the offsets 0."""
        nn.init.zeros_(self.flow.weight)
        nn.init.zeros_(self.flow.bias)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """The coarse map, moved.

        Args:
            fine: (N, C, H, W).
            coarse: (N, C, H, W), enlarged to the size of the fine one.

        Returns:
            (N, C, H, W), the dtype of ``coarse``.
        """
        raw = self.flow(self.reduce(torch.cat([fine, coarse], dim=1)))
        wide = raw if raw.dtype == torch.float64 else raw.float()
        flow = self.max_offset * torch.tanh(wide / self.max_offset)
        size = coarse.shape[2], coarse.shape[3]
        centers = pixel_centers(size, 1, coarse.device).unflatten(1, size).to(flow.dtype)
        return remap(coarse, centers + flow.permute(0, 2, 3, 1), padding_mode='border')


@MODELS.register_module()
class AlignedFPN(FPN):
    """mmdet's ``FPN`` that moves each enlarged coarse level by predicted offsets before it is added to the finer one.

    An enlarged coarse level lies beside the finer one by parts of a cell, and what strides and convolutions have
    shifted adds up, so edges blur where the levels are added. Offsets from both levels put this right, as in "FaPN:
    Feature-aligned Pyramid Network for Dense Image Prediction" https://arxiv.org/abs/2108.07058, which predicts
    deformable convolutions. Here the level is read at bounded offsets that start at 0, so that an untrained pyramid
    equals ``FPN`` with the same weights bit for bit, and a trained ``FPN`` can be loaded into it.

    Args:
        in_channels, out_channels, num_outs, start_level, end_level, add_extra_convs, relu_before_extra_convs,
            no_norm_on_lateral, conv_cfg, norm_cfg, act_cfg, upsample_cfg, init_cfg: As of mmdet's ``FPN``.
        align_channels: Channels of the networks that predict the offsets, a multiple of 8.
        max_offset: Largest offset in x and in y, cells of the finer level.

    Raises:
        ConfigError: If ``max_offset`` is not positive.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> neck = MODELS.build(dict(type='AlignedFPN', in_channels=[8, 16], out_channels=8, num_outs=3))
        >>> [tuple(level.shape) for level in neck((torch.rand(1, 8, 9, 13), torch.rand(1, 16, 5, 7)))]
        [(1, 8, 9, 13), (1, 8, 5, 7), (1, 8, 3, 4)]
    """

    def __init__(
        self,
        in_channels: list[int],
        out_channels: int,
        num_outs: int,
        start_level: int = 0,
        end_level: int = -1,
        add_extra_convs: bool | str = False,
        relu_before_extra_convs: bool = False,
        no_norm_on_lateral: bool = False,
        conv_cfg: OptConfigType = None,
        norm_cfg: OptConfigType = None,
        act_cfg: OptConfigType = None,
        upsample_cfg: ConfigType | None = None,
        align_channels: int = 64,
        max_offset: float = 2.0,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            num_outs=num_outs,
            start_level=start_level,
            end_level=end_level,
            add_extra_convs=add_extra_convs,
            relu_before_extra_convs=relu_before_extra_convs,
            no_norm_on_lateral=no_norm_on_lateral,
            conv_cfg=conv_cfg,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
            upsample_cfg=upsample_cfg or dict(mode='nearest'),
            init_cfg=init_cfg or dict(type='Xavier', layer='Conv2d', distribution='uniform'),
        )
        if not max_offset > 0:
            raise ConfigError(f"AlignedFPN: max_offset is {max_offset}; expected cells above 0, or mmdet's FPN")
        self.aligns = nn.ModuleList(
            FlowAlign(out_channels, align_channels, max_offset) for _ in range(len(self.lateral_convs) - 1)
        )

    def init_weights(self) -> None:
        """As ``FPN``, but for the offsets, which start at 0."""
        super().init_weights()
        for align in self.aligns:
            align.reset_flow()

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Levels of the pyramid.

        Args:
            inputs: (N, C_l, H_l, W_l) of each level of the backbone, finest first.

        Returns:
            ``num_outs`` levels (N, out_channels, H_l, W_l).

        Raises:
            InputError: If the number of inputs is not that of ``in_channels``.
        """
        if len(inputs) != len(self.in_channels):
            raise InputError(
                f'AlignedFPN got {len(inputs)} levels and has in_channels {self.in_channels}; expected one level each: '
                f"make the backbone's out_indices fit"
            )
        laterals = [conv(level) for conv, level in zip(self.lateral_convs, inputs[self.start_level :])]
        for index in reversed(range(len(self.aligns))):
            fine = laterals[index]
            laterals[index] = fine + self.aligns[index](fine, self._enlarge(laterals[index + 1], fine))
        outs = [conv(lateral) for conv, lateral in zip(self.fpn_convs, laterals)]
        return (*outs, *self._extra_levels(inputs, laterals[-1], outs[-1]))

    def _enlarge(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """The coarse map at the size of the fine one, by ``upsample_cfg``."""
        size = {} if 'scale_factor' in self.upsample_cfg else dict(size=fine.shape[2:])
        return F.interpolate(coarse, **size, **self.upsample_cfg)

    def _extra_levels(self, inputs: Sequence[Tensor], lateral: Tensor, out: Tensor) -> list[Tensor]:
        """Levels coarser than the backbone's, as ``add_extra_convs`` says."""
        levels: list[Tensor] = []
        if not self.add_extra_convs:
            for _ in range(self.num_outs - len(self.lateral_convs)):
                out = F.max_pool2d(out, 1, stride=2)
                levels.append(out)
            return levels
        sources = dict(on_input=inputs[self.backbone_end_level - 1], on_lateral=lateral, on_output=out)
        level = sources[self.add_extra_convs]
        for conv in self.fpn_convs[len(self.lateral_convs) :]:
            level = conv(F.relu(level) if levels and self.relu_before_extra_convs else level)
            levels.append(level)
        return levels

"""The encoder of RT-DETR: attention on the coarsest level alone, convolutions between the levels."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.layers import DetrTransformerEncoder, SinePositionalEncoding
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import ConfigError, InputError
from .rep_vgg_block import RepVGGBlock


class CSPRepLayer(nn.Module):
    """The block that fuses two levels: a path of re-parameterisable convolutions and a short one, added up.

    Args:
        in_channels: Channels of the input, of both levels together.
        out_channels: Channels of the output.
        num_blocks: Number of ``RepVGGBlock``.
        expansion: Channels inside, in units of ``out_channels``.
        norm_cfg: Norm of every convolution.
        act_cfg: Activation of every convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: int,
        expansion: float,
        norm_cfg: ConfigType,
        act_cfg: ConfigType,
    ) -> None:
        super().__init__()
        width = int(out_channels * expansion)
        settings = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.main = ConvModule(in_channels, width, 1, **settings)
        self.short = ConvModule(in_channels, width, 1, **settings)
        self.blocks = nn.Sequential(*[RepVGGBlock(width, width, **settings) for _ in range(num_blocks)])
        self.out = ConvModule(width, out_channels, 1, **settings) if width != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(N, in_channels, H, W)`` to ``(N, out_channels, H, W)``."""
        return self.out(self.blocks(self.main(x)) + self.short(x))


@MODELS.register_module()
class HybridEncoder(BaseModule):
    """Attends within the coarsest level, then fuses the levels downwards and upwards by convolutions.

    Proposed in "DETRs Beat YOLOs on Real-time Object Detection" https://arxiv.org/abs/2304.08069. The tokens of all
    levels attending to each other are what an encoder of Deformable DETR spends its time on; here only the coarsest
    level, where whole objects fit into a cell, gets layers of a transformer (with sine positions in x and y), and a
    pyramid carries what they found to the finer levels and back. Fusion blocks are ``CSPRepLayer``.

    Args:
        in_channels: Channels of each input level, finest first.
        out_channels: Channels C of every output, a multiple of 4 and of ``num_heads``.
        num_layers: Layers of the transformer on the coarsest level; 0 leaves the pyramid alone.
        num_heads: Heads of their attention.
        feedforward_channels: Channels inside their feed-forward networks.
        dropout: Probability of dropping, in attention and feed-forward networks.
        num_blocks: Re-parameterisable convolutions in each fusion block.
        expansion: Channels inside fusion blocks, in units of ``out_channels``.
        positional_encoding: Arguments of mmdet's ``SinePositionalEncoding`` besides ``num_feats``.
        norm_cfg: Norm of all convolutions.
        act_cfg: Activation of all convolutions.
        init_cfg: As of mmengine's ``BaseModule``.

    Raises:
        ConfigError: If there is no level, or if ``out_channels`` does not divide.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> encoder = MODELS.build(dict(type='HybridEncoder', in_channels=[8, 16], out_channels=32))
        >>> [tuple(level.shape) for level in encoder((torch.rand(1, 8, 9, 13), torch.rand(1, 16, 5, 7)))]
        [(1, 32, 9, 13), (1, 32, 5, 7)]
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int = 256,
        num_layers: int = 1,
        num_heads: int = 8,
        feedforward_channels: int = 1024,
        dropout: float = 0.0,
        num_blocks: int = 3,
        expansion: float = 1.0,
        positional_encoding: OptConfigType = None,
        norm_cfg: OptConfigType = None,
        act_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if not in_channels:
            raise ConfigError('HybridEncoder: in_channels is empty; expected the channels of each level, finest first')
        if out_channels % 4 or out_channels % num_heads:
            raise ConfigError(
                f'HybridEncoder: out_channels is {out_channels}; expected a multiple of 4 (sine and cosine of x and y) '
                f'and of num_heads, {num_heads}'
            )
        norm_cfg, act_cfg = norm_cfg or dict(type='BN'), act_cfg or dict(type='SiLU')
        self.in_channels = tuple(in_channels)
        self.projections = nn.ModuleList(
            ConvModule(channels, out_channels, 1, norm_cfg=norm_cfg, act_cfg=None) for channels in in_channels
        )
        self.positions = SinePositionalEncoding(out_channels // 2, **(positional_encoding or dict(normalize=True)))
        self.transformer = (
            _transformer(num_layers, out_channels, num_heads, feedforward_channels, dropout) if num_layers else None
        )
        self._build_pyramid(out_channels, num_blocks, expansion, dict(norm_cfg=norm_cfg, act_cfg=act_cfg))

    def _build_pyramid(self, channels: int, num_blocks: int, expansion: float, settings: dict[str, Any]) -> None:
        """Layers of the ways down and up; the n-th of each joins the levels n and n + 1."""
        joints = range(len(self.in_channels) - 1)
        self.laterals = nn.ModuleList(ConvModule(channels, channels, 1, **settings) for _ in joints)
        self.top_down = nn.ModuleList(
            CSPRepLayer(2 * channels, channels, num_blocks, expansion, **settings) for _ in joints
        )
        self.downsamples = nn.ModuleList(
            ConvModule(channels, channels, 3, stride=2, padding=1, **settings) for _ in joints
        )
        self.bottom_up = nn.ModuleList(
            CSPRepLayer(2 * channels, channels, num_blocks, expansion, **settings) for _ in joints
        )

    def init_weights(self) -> None:
        """As ``BaseModule``; matrices of the transformer by Xavier, as DETR does."""
        super().init_weights()
        for weight in self.transformer.parameters() if self.transformer else ():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)

    def forward(self, feats: Sequence[Tensor], masks: Sequence[Tensor | None] | None = None) -> tuple[Tensor, ...]:
        """Encode the levels of a backbone.

        Args:
            feats: (N, in_channels[i], H_i, W_i), finest first; each level half as large as the one before, rounded up.
            masks: (N, H_i, W_i) of each level, true where the batch is padded; None, of all or of a level, where
                nothing is. Only that of the coarsest level is read: no cell attends to padding.

        Returns:
            (N, C, H_i, W_i) of each level.

        Raises:
            InputError: If the number of levels or their sizes do not fit.
        """
        self._check(feats, masks)
        levels = [project(feat) for project, feat in zip(self.projections, feats)]
        levels[-1] = self.attend(levels[-1], None if masks is None else masks[-1])
        for index in reversed(range(len(self.laterals))):
            levels[index + 1] = self.laterals[index](levels[index + 1])
            coarse = F.interpolate(levels[index + 1], size=levels[index].shape[-2:], mode='nearest')
            levels[index] = self.top_down[index](torch.cat([coarse, levels[index]], dim=1))
        for index, downsample in enumerate(self.downsamples):
            both = torch.cat([downsample(levels[index]), levels[index + 1]], dim=1)
            levels[index + 1] = self.bottom_up[index](both)
        return tuple(levels)

    def attend(self, level: Tensor, mask: Tensor | None = None) -> Tensor:
        """Let the cells of one level attend to each other.

        Args:
            level: (N, C, H, W).
            mask: (N, H, W), true where the batch is padded, or None. An image so small that all of its cells are
                padding attends as if none were.

        Returns:
            (N, C, H, W); what stands in padded cells is of no use.
        """
        if self.transformer is None:
            return level
        size = level.shape[-2:]
        if mask is not None:  # a softmax over no cell is not a number
            mask = mask.bool() & ~mask.bool().flatten(1).all(1)[:, None, None]
        positions = self.positions(mask, level).to(level.dtype)
        tokens = self.transformer(
            query=level.flatten(2).transpose(1, 2),  # (N, H * W, C)
            query_pos=positions.flatten(2).transpose(1, 2),
            key_padding_mask=None if mask is None else mask.flatten(1),
        )
        return tokens.transpose(1, 2).unflatten(2, size)

    def _check(self, feats: Sequence[Tensor], masks: Sequence[Tensor | None] | None) -> None:
        """Refuse levels that cannot be put together."""
        if len(feats) != len(self.in_channels) or (masks is not None and len(masks) != len(feats)):
            given = '' if masks is None else f' and {len(masks)} masks'
            raise InputError(
                f'HybridEncoder got {len(feats)} levels{given} and has in_channels {self.in_channels}; expected one '
                f"of each for each level: make the backbone's out_indices fit"
            )
        sizes = [tuple(feat.shape[-2:]) for feat in feats]
        for fine, coarse in pairwise(sizes):
            if coarse != tuple((side + 1) // 2 for side in fine):
                raise InputError(
                    f'HybridEncoder got levels of sizes {sizes}; expected each to be half as large as the one before, '
                    'rounded up, as strides of 2 make them'
                )
        mask = None if masks is None else masks[-1]
        if mask is not None and tuple(mask.shape[-2:]) != sizes[-1]:
            raise InputError(
                f'HybridEncoder got a mask of size {tuple(mask.shape[-2:])} for a coarsest level of {sizes[-1]}; '
                'expected the mask at the size of its level'
            )


def _transformer(
    num_layers: int, channels: int, num_heads: int, feedforward_channels: int, dropout: float
) -> DetrTransformerEncoder:
    """Layers of DETR's encoder, with the activation of RT-DETR."""
    layer = dict(
        self_attn_cfg=dict(
            embed_dims=channels,
            num_heads=num_heads,
            attn_drop=dropout,
            dropout_layer=dict(type='Dropout', drop_prob=dropout),
            batch_first=True,
        ),
        ffn_cfg=dict(
            embed_dims=channels,
            feedforward_channels=feedforward_channels,
            ffn_drop=dropout,
            act_cfg=dict(type='GELU'),
        ),
    )
    return DetrTransformerEncoder(num_layers=num_layers, layer_cfg=layer)

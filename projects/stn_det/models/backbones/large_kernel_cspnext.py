"""CSPNeXt with a block behind its stages that chooses, place by place, how far around to look."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.backbones import CSPNeXt
from mmdet.registry import MODELS
from torch import Tensor, nn

from ...errors import ConfigError


class LargeKernelSelection(nn.Module):
    """Weighs a near and a far surrounding of every place against each other, and gates the features by the result.

    A 5x5 depthwise convolution sees the near surrounding, a 7x7 one with dilation 3 on top of it the far one, 23x23
    places. From mean and maximum over the channels of both a 7x7 convolution makes two masks in (0, 1); the sum of the
    masked surroundings multiplies the features. The selection is that of "Large Selective Kernel Network for Remote
    Sensing Object Detection" https://arxiv.org/abs/2303.09030, written from its formulas. Here it is a residual branch
    whose scale, one number a channel, starts at 0: a trained network is not disturbed by it. The feed-forward part of
    the paper's block is left to CSPNeXt.

    Args:
        channels: channels C of the features, an even number.

    Raises:
        ConfigError: for an odd number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % 2:
            raise ConfigError(f'channels is {channels}; expected an even number, each surrounding gets half of them')
        half = channels // 2
        self.project = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU())
        self.near = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.far = nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.squeeze_near = nn.Conv2d(channels, half, 1)
        self.squeeze_far = nn.Conv2d(channels, half, 1)
        self.masks = nn.Conv2d(2, 2, 7, padding=3)
        self.expand = nn.Conv2d(half, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        self.scale = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(N, C, H, W)`` to features of the same shape; as they are while the scale is 0."""
        hidden = self.project(x)
        near = self.near(hidden)
        near, far = self.squeeze_near(near), self.squeeze_far(self.far(near))  # (N, C / 2, H, W)
        both = torch.cat([near, far], 1)
        summary = torch.cat([both.mean(1, keepdim=True), both.amax(1, keepdim=True)], 1)
        mask_near, mask_far = self.masks(summary).sigmoid().chunk(2, 1)  # (N, 1, H, W)
        gate = self.expand(near * mask_near + far * mask_far)
        return x + self.scale * self.out(hidden * gate)


@MODELS.register_module()
class LargeKernelCSPNeXt(CSPNeXt):
    """CSPNeXt, the backbone of RTMDet, with a ``LargeKernelSelection`` behind some stages.

    What a small object in an overhead image is often shows only in what lies around it, and how much of that is needed
    differs from class to class. Weights of CSPNeXt fit, and give its features until training goes on.

    Args:
        large_kernel_stages: numbers, from 1, of the stages that get a block.
        **kwargs: as for mmdet's ``CSPNeXt``.

    Raises:
        ConfigError: for a number that is no stage.

    Example:
        >>> import torch, stn_det.register
        >>> from stn_det.models import LargeKernelCSPNeXt
        >>> backbone = LargeKernelCSPNeXt(widen_factor=0.125, deepen_factor=0.167)
        >>> [tuple(level.shape) for level in backbone(torch.zeros(1, 3, 64, 64))]
        [(1, 32, 8, 8), (1, 64, 4, 4), (1, 128, 2, 2)]
    """

    def __init__(self, large_kernel_stages: Sequence[int] = (2, 3, 4), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        known = range(1, len(self.layers))
        unknown = [stage for stage in large_kernel_stages if stage not in known]
        if unknown:
            raise ConfigError(f'large_kernel_stages holds {unknown}; expected numbers from 1 to {known[-1]}')
        for number in large_kernel_stages:
            stage = getattr(self, f'stage{number}')
            stage.add_module('large_kernel', LargeKernelSelection(stage[-1].final_conv.out_channels))

"""Small offsets of every cell that a warp of the whole image leaves over."""

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from .correlation import local_correlation

RADIUS = 2  # window of the correlation, cells: offsets are small


class ResidualFlow(nn.Module):
    """Looks at both sensors' features and their correlation; 0 at the start.

    Args:
        in_channels: Channels of the features.
        width: Channels inside, a multiple of 8.
    """

    def __init__(self, in_channels: int, width: int = 32) -> None:
        super().__init__()
        seen = 2 * in_channels + (2 * RADIUS + 1) ** 2
        norm_cfg = dict(type='GN', num_groups=8)
        self.tower = nn.Sequential(
            ConvModule(seen, width, 3, padding=1, norm_cfg=norm_cfg),
            ConvModule(width, width, 3, padding=1, norm_cfg=norm_cfg),
        )
        self.flow = nn.Conv2d(width, 2, 3, padding=1)
        self.reset_flow()

    def reset_flow(self) -> None:
        """Make the offsets 0."""
        nn.init.zeros_(self.flow.weight)
        nn.init.zeros_(self.flow.bias)

    def forward(self, first: Tensor, second: Tensor, coarser: Tensor | None) -> Tensor:
        """Offsets without bounds.

        Args:
            first: (N, C, H, W) features of the first sensor.
            second: The same of the second, in the frame of the first.
            coarser: (N, 2, h, w) offsets of the level before, to add to; None for none.

        Returns:
            (N, 2, H, W) as (x, y), pixels.
        """
        seen = torch.cat([first, second, local_correlation(first, second, RADIUS)], dim=1)
        flow = self.flow(self.tower(seen.to(self.flow.weight.dtype))).to(first.dtype)
        if coarser is None:
            return flow
        return flow + F.interpolate(coarser, size=flow.shape[-2:], mode='bilinear', align_corners=False)

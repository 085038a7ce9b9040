"""Fusion that adds to the first sensor's features, level by level, and begins with adding nothing.

A detector of the first sensor keeps its figures when a second stream is put beside it; training decides what the second
adds. The same idea opens residual branches in "Fixup Initialization" https://arxiv.org/abs/1901.09321 and
"Adding Conditional Control to Text-to-Image Diffusion Models" https://arxiv.org/abs/2302.05543.
"""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import ConfigError, InputError


def check_levels(first: Sequence[Tensor], second: Sequence[Tensor], num_levels: int) -> None:
    """See that the levels of two streams agree in number, batch, height and width; values are not read.

    Args:
        first: Levels ``(N, C, H_l, W_l)`` of the first sensor.
        second: The same of the second; channels may differ.
        num_levels: Number of levels expected.

    Raises:
        InputError: They do not agree.
    """
    if not len(first) == len(second) == num_levels:
        raise InputError(
            f'the streams have {len(first)} and {len(second)} levels, the fusion has in_channels for {num_levels}; '
            'out_indices of both backbones and in_channels must agree.'
        )
    for level, (a, b) in enumerate(zip(first, second)):
        if a.shape[0] != b.shape[0] or a.shape[-2:] != b.shape[-2:]:
            raise InputError(
                f'level {level}: features of the first sensor have shape {tuple(a.shape)}, of the second '
                f'{tuple(b.shape)}; the strides of both backbones must agree.'
            )


@MODELS.register_module()
class ConcatFusion(BaseModule):
    """``first + conv(concat(first, second))`` on each level, with a 1x1 convolution that starts at zero.

    Args:
        in_channels: Channels of each level of the first sensor.
        second_channels: The same of the second; None: as the first.
        init_cfg: Weight initialisation; None keeps the zeros.

    Raises:
        ConfigError: The two differ in number of levels.

    Example:
        >>> import torch, stn_det.register
        >>> from stn_det.models import ConcatFusion
        >>> levels = [torch.ones(1, 8, 4, 4), torch.ones(1, 16, 2, 2)]
        >>> [tuple(level.shape) for level in ConcatFusion([8, 16])(levels, levels)]
        [(1, 8, 4, 4), (1, 16, 2, 2)]
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        second_channels: Sequence[int] | None = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        seconds = in_channels if second_channels is None else second_channels
        if not in_channels or len(in_channels) != len(seconds):
            raise ConfigError(
                f'ConcatFusion: in_channels is {in_channels} and second_channels {second_channels}, expected the '
                'channels of each level of both backbones.'
            )
        self.convs = nn.ModuleList(nn.Conv2d(a + b, a, kernel_size=1) for a, b in zip(in_channels, seconds))
        for conv in self.convs:
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Fuse.

        Args:
            first: Levels ``(N, C_l, H_l, W_l)`` of the first sensor, finest first.
            second: Levels ``(N, D_l, H_l, W_l)`` of the second.

        Returns:
            Levels ``(N, C_l, H_l, W_l)``.

        Raises:
            InputError: The streams do not agree.
        """
        check_levels(first, second, len(self.convs))
        return tuple(a + conv(torch.cat((a, b), dim=1)) for a, b, conv in zip(first, second, self.convs))


@MODELS.register_module()
class AddFusion(BaseModule):
    """``first + gate * second`` on each level, with one gate a channel that starts at zero.

    Args:
        in_channels: Channels of each level, the same for both sensors.
        init_cfg: Weight initialisation; None keeps the zeros.
    """

    def __init__(self, in_channels: Sequence[int], init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.gates = nn.ParameterList(torch.zeros(channels, 1, 1) for channels in in_channels)

    def forward(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Fuse.

        Args:
            first: Levels ``(N, C_l, H_l, W_l)`` of the first sensor, finest first.
            second: The same of the second.

        Returns:
            Levels ``(N, C_l, H_l, W_l)``.

        Raises:
            InputError: The streams do not agree.
        """
        check_levels(first, second, len(self.gates))
        return tuple(a + gate * b for a, b, gate in zip(first, second, self.gates))

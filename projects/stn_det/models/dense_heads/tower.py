"""Stacks of convolutions in front of a head's predictions, each of them ordinary or deformable."""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmdet.utils import ConfigType, OptConfigType
from mmengine.model import normal_init
from torch import nn

from ...errors import ConfigError

ConvCfgs = Sequence[ConfigType | None]


def tower_cfgs(count: int, conv_cfgs: ConvCfgs | None, dcn_on_last_conv: bool = False) -> tuple[ConfigType | None, ...]:
    """Kind of each convolution of a tower.

    Args:
        count: Number of convolutions.
        conv_cfgs: For each of them None or a config such as ``dict(type='DCNv4', deform_groups=4)``.
        dcn_on_last_conv: Short for 'DCNv2' in the last place and ordinary convolutions before it.

    Raises:
        ConfigError: If there are not as many entries as convolutions, or both options are given.
    """
    if conv_cfgs is not None and dcn_on_last_conv:
        raise ConfigError(
            f'dcn_on_last_conv is True and conv_cfgs is {list(conv_cfgs)}; expected one of them: put '
            f"dict(type='DCNv2') in the last place of conv_cfgs"
        )
    if conv_cfgs is None:
        conv_cfgs = [None] * (count - 1) + [dict(type='DCNv2') if dcn_on_last_conv else None]
    if len(conv_cfgs) != count:
        raise ConfigError(
            f'conv_cfgs is {list(conv_cfgs)}; expected {count} entries, one for each of the stacked_convs, None for an '
            f'ordinary convolution'
        )
    return tuple(conv_cfgs)


def conv_tower(in_channels: int, channels: int, conv_cfgs: ConvCfgs, norm_cfg: OptConfigType) -> nn.Sequential:
    """3x3 convolutions, each with normalisation and ReLU, one for each of ``conv_cfgs``; the size of maps stays."""
    widths = [in_channels] + [channels] * len(conv_cfgs)
    return nn.Sequential(
        *(
            ConvModule(width, channels, 3, padding=1, conv_cfg=conv_cfg, norm_cfg=norm_cfg)
            for width, conv_cfg in zip(widths, conv_cfgs)
        )
    )


def init_tower(tower: nn.Module) -> None:
    """Draw ordinary convolutions from a normal distribution of 0.01; deformable ones keep their own start."""
    for module in tower.children():
        if isinstance(module, ConvModule) and type(module.conv) is nn.Conv2d:
            normal_init(module.conv, std=0.01)

"""Two parallel convolutions that are one convolution as soon as their batch norms only apply stored statistics."""

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_activation_layer
from mmdet.utils import ConfigType, OptConfigType
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class RepVGGBlock(nn.Module):
    """A 3x3 and a 1x1 convolution, each with its norm, added up and activated.

    Proposed in "RepVGG: Making VGG-style ConvNets Great Again" https://arxiv.org/abs/2101.03697, without the third
    branch, the bare norm. Both branches are linear once batch norms are in evaluation mode; then one 3x3 convolution
    is run whose weights are put together on the way, which costs nothing beside the convolution itself. So nothing has
    to be switched for inference, averaged weights and checkpoints are those of training, and gradients still reach
    both branches. With another norm both branches are always run.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        norm_cfg: Norm of each branch.
        act_cfg: Activation of the sum, or None.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm_cfg: ConfigType, act_cfg: OptConfigType = None
    ) -> None:
        super().__init__()
        self.wide = ConvModule(in_channels, out_channels, 3, padding=1, norm_cfg=norm_cfg, act_cfg=None)
        self.narrow = ConvModule(in_channels, out_channels, 1, norm_cfg=norm_cfg, act_cfg=None)
        self.activate = build_activation_layer(act_cfg) if act_cfg else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(N, in_channels, H, W)`` to ``(N, out_channels, H, W)``."""
        if self.foldable:
            return self.activate(F.conv2d(x, *self.folded(), padding=1))
        return self.activate(self.wide(x) + self.narrow(x))

    @property
    def foldable(self) -> bool:
        """Whether both norms are batch norms that apply stored statistics."""
        return all(
            isinstance(branch.norm, _BatchNorm) and not branch.norm.training and branch.norm.track_running_stats
            for branch in (self.wide, self.narrow)
        )

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight ``(out_channels, in_channels, 3, 3)`` and bias ``(out_channels,)`` of the one convolution."""
        weight, bias = _folded(self.wide)
        centre, offset = _folded(self.narrow)
        return weight + F.pad(centre, (1, 1, 1, 1)), bias + offset


def _folded(branch: ConvModule) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution and the batch norm behind it as one convolution."""
    norm = branch.norm
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    bias = -norm.running_mean * scale
    if norm.bias is not None:
        bias = bias + norm.bias
    return branch.conv.weight * scale[:, None, None, None], bias

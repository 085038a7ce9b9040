"""The localisation network of a spatial transformer: from a thumbnail to the numbers of a warp.

"Spatial Transformer Networks" https://arxiv.org/abs/1506.02025. Its last layer starts at 0, which is the identity warp.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import ConfigError

GROUP_NORM: ConfigType = dict(type='GN', num_groups=8)


class ZeroLinear(nn.Linear):
    """A linear layer that starts at 0 and stays so whatever a model around it initialises."""

    def reset_parameters(self) -> None:
        """Set weight and bias to 0."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def init_weights(self) -> None:
        """Set weight and bias to 0; mmengine calls this after the initialisation of the modules around it."""
        self.reset_parameters()


@MODELS.register_module()
class LocalizationNetwork(BaseModule):
    """Convolutions that halve a thumbnail each, averages over a grid of equal parts, two linear layers.

    Args:
        num_outputs: Numbers P to predict for each image; a transformer sets it.
        in_channels: Channels of the thumbnail, or of the features that are passed in its place.
        channels: Channels of each convolution, all of stride 2.
        pool: The features are averaged over pool x pool parts, whatever the size of the thumbnail.
        hidden: Width of the first linear layer.
        norm_cfg: Normalisation after each convolution; by groups, since a batch may hold one image. None for none.
        init_cfg: Weight initialisation; the last layer is 0 in any case, unless a checkpoint is loaded.

    Raises:
        ConfigError: If there is no convolution, or a size is not positive.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> network = MODELS.build(dict(type='LocalizationNetwork', num_outputs=4))
        >>> network(torch.rand(2, 3, 96, 128)).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        num_outputs: int,
        in_channels: int = 3,
        channels: Sequence[int] = (16, 32, 64, 64),
        pool: int = 4,
        hidden: int = 64,
        norm_cfg: OptConfigType = GROUP_NORM,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if min(num_outputs, pool, hidden) < 1:
            raise ConfigError(f'num_outputs is {num_outputs}, pool {pool}, hidden {hidden}; expected 1 or more of each')
        self.pool = pool
        self.stages = conv_stages(in_channels, channels, norm_cfg)
        self.hidden = nn.Linear(channels[-1] * pool**2, hidden)
        self.output = ZeroLinear(hidden, num_outputs)

    def forward(self, thumbnail: Tensor) -> Tensor:
        """Numbers (N, P) without bounds for thumbnails or their features (N, C, h, w); all 0 at the start."""
        features = area_pool(self.stages(thumbnail), self.pool)
        return self.output(self.hidden(features.flatten(1)).relu())


def conv_stages(in_channels: int, channels: Sequence[int], norm_cfg: OptConfigType) -> nn.Sequential:
    """3 x 3 convolutions of stride 2, each with normalisation and ReLU.

    Raises:
        ConfigError: If there is none.
    """
    if not channels:
        raise ConfigError(f'channels is {channels!r}, expected the channels of one convolution or more')
    widths = [in_channels, *channels]
    return nn.Sequential(
        *(ConvModule(before, after, 3, stride=2, padding=1, norm_cfg=norm_cfg) for before, after in pairwise(widths))
    )


def area_pool(features: Tensor, parts: int) -> Tensor:
    """Means over parts x parts equal parts; a cell that several parts share counts for each by its area there.

    As two products of matrices, because adaptive pooling has no deterministic gradient on a GPU.

    Args:
        features: (N, C, h, w) of any size, also below ``parts``.
        parts: Along each side.

    Returns:
        (N, C, parts, parts).
    """
    rows, columns = (_shares(length, parts, features) for length in features.shape[2:])
    return rows @ features @ columns.mT


def _shares(length: int, parts: int, like: Tensor) -> Tensor:
    """Weights (parts, length) of the cells of one side in the mean of each part."""
    cells = torch.arange(length, device=like.device, dtype=torch.float32)
    first = torch.arange(parts, device=like.device, dtype=torch.float32)[:, None] * (length / parts)
    overlap = torch.minimum(first + length / parts, cells + 1) - torch.maximum(first, cells)
    return (overlap.clamp(min=0) * (parts / length)).to(like.dtype)

"""Active rotating filters: one kernel applied in eight directions, and the strongest answer of the eight.

"Oriented Response Networks" https://arxiv.org/abs/1701.01833, as used on an input without directions of its own in
"Align Deep Features for Oriented Object Detection" https://arxiv.org/abs/2008.09397.
"""

import torch
import torch.nn.functional as F
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import ConfigError

ORIENTATIONS = 8  # steps of 45 degrees, which move the border of a 3x3 kernel by one place
RING = (0, 1, 2, 5, 8, 7, 6, 3)  # places of the border of a 3x3 kernel, clockwise on screen


def kernel_places() -> Tensor:
    """Which of the nine places (row by row) of a 3x3 kernel each place of its eight turned copies shows, (8, 9)."""
    places = torch.arange(9).repeat(ORIENTATIONS, 1)
    for turn in range(ORIENTATIONS):
        for step, place in enumerate(RING):
            places[turn, RING[(step + turn) % ORIENTATIONS]] = place
    return places


def rotated_kernels(weight: Tensor, places: Tensor) -> Tensor:
    """Eight copies of 3x3 kernels, each turned by 45 degrees clockwise on screen from the one before.

    Args:
        weight: (O, C, 3, 3).
        places: (8, 9) of :func:`kernel_places`, on the device of the weight.

    Returns:
        (O * 8, C, 3, 3), the eight of a kernel side by side.
    """
    turned = weight.flatten(2)[..., places]  # (O, C, 8, 9)
    return turned.transpose(1, 2).flatten(0, 1).unflatten(2, (3, 3))


class ORConv2d(BaseModule):
    """3x3 convolution with a kernel in eight directions for every eight output channels.

    Args:
        in_channels: channels C of the map, without directions.
        out_channels: channels O of the result, a multiple of 8; directions lie side by side.
        init_cfg: weight initialisation.

    Raises:
        ConfigError: If the output channels are no multiple of 8.

    Example:
        >>> import torch
        >>> tuple(ORConv2d(4, 16)(torch.rand(1, 4, 6, 5)).shape)
        (1, 16, 6, 5)
    """

    def __init__(self, in_channels: int, out_channels: int, init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        if out_channels < ORIENTATIONS or out_channels % ORIENTATIONS:
            raise ConfigError(f'out_channels is {out_channels}; expected a multiple of {ORIENTATIONS} directions')
        self.weight = nn.Parameter(torch.empty(out_channels // ORIENTATIONS, in_channels, 3, 3))
        nn.init.kaiming_normal_(self.weight, nonlinearity='relu')
        self.places: Tensor
        self.register_buffer('places', kernel_places(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x (N, C, H, W) to (N, O, H, W)."""
        return F.conv2d(x, rotated_kernels(self.weight, self.places), padding=1)


def orientation_pool(x: Tensor) -> Tensor:
    """Strongest direction of eight: (N, O, H, W) to (N, O / 8, H, W)."""
    return x.unflatten(1, (-1, ORIENTATIONS)).amax(2)

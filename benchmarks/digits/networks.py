"""The paper's convolutional network, alone or behind a spatial transformer, of one number of parameters."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

import stn_det.register  # noqa: F401  makes mmdet importable
from stn_det.models.stn import SpatialTransformer

FIRST = 16  # channels of the first convolution
FAMILIES = {'affine': 'affine', 'projective': 'homography', 'tps': 'thin_plate'}
MODELS = ('cnn', *FAMILIES)


class DigitNetwork(nn.Module):
    """Convolutions of 9 x 9 and 7 x 7, each with ReLU and pooling, a linear layer; a transformer before them or none.

    Args:
        canvas: Side of the images, pixels.
        second: Channels of the second convolution.
        transformer: Warps the images first; None for none.
    """

    def __init__(self, canvas: int, second: int, transformer: SpatialTransformer | None) -> None:
        super().__init__()
        self.transformer = transformer
        self.first, self.second = nn.Conv2d(1, FIRST, 9), nn.Conv2d(FIRST, second, 7)
        self.output = nn.Linear(second * (((canvas - 8) // 2 - 6) // 2) ** 2, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (n, 10) of images (n, 1, canvas, canvas)."""
        if self.transformer is not None:
            images = self.transformer(images).images
        features = F.max_pool2d(self.first(images).relu(), 2)
        return self.output(F.max_pool2d(self.second(features).relu(), 2).flatten(1))


def build(model: str, canvas: int, parameters: int) -> DigitNetwork:
    """A network with as nearly ``parameters`` weights as whole channels allow.

    Args:
        model: 'cnn', 'affine', 'projective' or 'tps'.
        canvas: Side of the images, pixels.
        parameters: Weights in all, those of the transformer included.
    """
    one, two = (count(_assemble(model, canvas, second)) for second in (1, 2))
    return _assemble(model, canvas, max(1, round((parameters - one) / (two - one)) + 1))


def _assemble(model: str, canvas: int, second: int) -> DigitNetwork:
    if model == 'cnn':
        return DigitNetwork(canvas, second, None)
    localizer = dict(type='LocalizationNetwork', in_channels=1, channels=(16, 32), pool=4, hidden=32)
    limits = dict(displacement=1.0) if model == 'tps' else None
    transformer = SpatialTransformer(FAMILIES[model], limits, localizer, thumbnail=canvas, antialias=False)
    return DigitNetwork(canvas, second, transformer)


def count(network: nn.Module) -> int:
    """Number of weights."""
    return sum(weight.numel() for weight in network.parameters())

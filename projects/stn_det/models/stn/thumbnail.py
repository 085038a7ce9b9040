"""Small copies of images, at which localisers look."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geometry import scaling
from ...geometry.warp import MatrixWarp


def make_thumbnail(images: Tensor, longer_side: int) -> tuple[Tensor, MatrixWarp]:
    """Whole images, smoothed and made small.

    By PyTorch's separable filter; a warp, which averages in two dimensions at once, would take longer.

    Args:
        images: (N, C, H, W) floating.
        longer_side: Of the thumbnail, pixels; images that are no larger are returned as they are.

    Returns:
        (N, C, h, w) of the same dtype, and the map from the images' pixels to the thumbnail's. It fills the thumbnail,
        so its scales along x and y differ by what rounding to whole pixels takes.
    """
    height, width = images.shape[2:]
    factor = longer_side / max(height, width)
    if factor >= 1:
        return images, MatrixWarp.identity(len(images), (height, width), images.device)
    size = max(1, round(height * factor)), max(1, round(width * factor))
    # The filter is not to be had in half precision.
    wide = images if images.dtype in (torch.float32, torch.float64) else images.float()
    small = F.interpolate(wide, size=size, mode='bilinear', antialias=True, align_corners=False).to(images.dtype)
    matrix = scaling(size[1] / width, size[0] / height).to(images.device)
    return small, MatrixWarp(matrix.expand(len(images), 3, 3), (height, width), size)

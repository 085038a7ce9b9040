"""An image array seen through a matrix, as sharp as it was and without aliasing."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stn_det.errors import InputError
from stn_det.ops import warp_sample


def resample_image(image: np.ndarray, dst_from_src: Tensor, fill: float | Sequence[float]) -> np.ndarray:
    """Warp an image within its frame; what no source pixel covers gets a colour.

    Convention:
        ``dst_from_src`` in continuous pixels, the matrix that moves the boxes of the image.

    Bicubic, because a bilinear turn blurs what a quarter turn leaves sharp, and averaged where the map makes the image
    smaller (``warp_sample(antialias=True)``). Turns that take pixels to pixels are exact. The colour is taken off
    before and added after, so the image goes over into it smoothly.

    Args:
        image: (H, W) or (H, W, C), integers or floats.
        dst_from_src: (3, 3).
        fill: The colour: one number, or one for each channel.

    Returns:
        An array of the same shape and dtype; integers are rounded and kept in their range.

    Raises:
        InputError: If the shape of image, matrix or colour does not fit.
    """
    if image.ndim not in (2, 3) or dst_from_src.shape != (3, 3):
        raise InputError(
            f'image and dst_from_src have shapes {image.shape} and {tuple(dst_from_src.shape)}; expected (H, W) or '
            '(H, W, C), and (3, 3)'
        )
    planes = torch.from_numpy(np.ascontiguousarray(image)).reshape(*image.shape[:2], -1).permute(2, 0, 1).float()
    colour = torch.as_tensor(fill, dtype=torch.float32).reshape(-1, 1, 1)
    if len(colour) not in (1, len(planes)):
        raise InputError(f'fill holds {len(colour)} numbers for an image of {len(planes)} channels; give one for each')
    src_from_dst = torch.linalg.inv(dst_from_src.double())
    planes = (planes - colour).contiguous()
    warped = warp_sample(planes[None], src_from_dst[None], image.shape[:2], 'bicubic', 'zeros', antialias=True)[0]
    result: np.ndarray = (warped + colour).permute(1, 2, 0).reshape(image.shape).numpy()
    if np.issubdtype(image.dtype, np.integer):
        limits = np.iinfo(image.dtype)
        result = result.round().clip(limits.min, limits.max)
    return np.ascontiguousarray(result.astype(image.dtype))

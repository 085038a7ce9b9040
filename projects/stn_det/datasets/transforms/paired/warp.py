"""Brings the second image into the frame of the first, by all that happened to the first."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from stn_det.errors import ConfigError, InputError
from stn_det.geometry import opencv_matrix

_INTERPOLATIONS = {'nearest': cv2.INTER_NEAREST, 'bilinear': cv2.INTER_LINEAR, 'bicubic': cv2.INTER_CUBIC}
_DTYPES = ('uint8', 'uint16', 'int16', 'float32', 'float64')
_MAX_CHANNELS = 4  # of one call of OpenCV
# Matrices are recorded in float32, which leaves errors of this size in pixels of a large image.
_WHOLE_PIXEL = 1e-3


def current_matrix(results: dict) -> np.ndarray:
    """Map ``(3, 3)`` float64 of pixels, first image as it is now from the first image's file."""
    return np.asarray(results.get('homography_matrix', np.eye(3)), dtype=np.float64)


def check_second(results: dict, transform: str) -> None:
    """See that a sample holds a second image that still lies in its own frame.

    Raises:
        InputError: It does not.
    """
    if not isinstance(results.get('second_img'), np.ndarray):
        raise InputError(f'{transform}: the sample has no second image. Put LoadSecondImageFromFile before it.')
    if 'second_follows' in results:
        raise InputError(f'{transform}: the second image was warped already. Put WarpSecondLikeFirst after it, once.')


def file_scaling(from_shape: tuple[int, int], to_shape: tuple[int, int]) -> np.ndarray:
    """Map ``(3, 3)`` between images of one scene of ``(height, width)`` ``from_shape`` and ``to_shape``."""
    return np.diag([to_shape[1] / from_shape[1], to_shape[0] / from_shape[0], 1.0])


def warp_image(
    image: np.ndarray,
    dst_from_src: np.ndarray,
    size: tuple[int, int],
    pad_val: float | Sequence[float] = 0,
    interpolation: str = 'bilinear',
) -> np.ndarray:
    """Warp an image once.

    Flips, quarter turns and shifts by whole pixels copy pixels exactly. Where the map makes the image smaller by 2 or
    more, pixels are averaged first.

    Convention:
        ``dst_from_src @ (x, y, 1)``; continuous pixels.

    Args:
        image: ``(H, W)`` or ``(H, W, C)`` of uint8, uint16, int16, float32 or float64.
        dst_from_src: ``(3, 3)``, a homography that leaves no horizon within the image.
        size: ``(width, height)`` of the result in pixels.
        pad_val: Value for what the image does not cover or is not finite, one number or one for each channel.
        interpolation: 'nearest', 'bilinear' or 'bicubic'.

    Returns:
        ``(height, width)`` or ``(height, width, C)`` of the same type.

    Raises:
        InputError: Type or number of padding values do not fit.
    """
    if image.dtype.name not in _DTYPES:
        raise InputError(
            f'the second image is of type {image.dtype}, expected one of {", ".join(_DTYPES)}. '
            'Set to_float32=True where it is loaded.'
        )
    channels = 1 if image.ndim == 2 else image.shape[2]
    values = (pad_val,) * channels if isinstance(pad_val, (int, float)) else tuple(pad_val)
    if len(values) != channels:
        raise InputError(
            f'pad_val has {len(values)} values for {channels} channels, expected one for each or one number.'
        )
    if np.issubdtype(image.dtype, np.floating):  # radar images hold NaN where there is no data
        image = np.where(np.isfinite(image), image, np.asarray(pad_val, dtype=image.dtype))
    matrix, flag = np.asarray(dst_from_src, dtype=np.float64), _INTERPOLATIONS[interpolation]
    if _moves_whole_pixels(matrix):
        matrix, flag = np.round(matrix), cv2.INTER_NEAREST
    else:
        image, matrix = _average(image, matrix)
    index_matrix = opencv_matrix(torch.from_numpy(matrix)).numpy()
    planes = image.reshape(*image.shape[:2], channels)
    warped = [
        cv2.warpPerspective(
            np.ascontiguousarray(planes[..., start : start + _MAX_CHANNELS]),
            index_matrix,
            size,
            flags=flag,
            borderValue=values[start : start + _MAX_CHANNELS],
        ).reshape(size[1], size[0], -1)
        for start in range(0, channels, _MAX_CHANNELS)
    ]
    return np.concatenate(warped, axis=2).reshape(size[1], size[0], *image.shape[2:])


def _moves_whole_pixels(matrix: np.ndarray) -> bool:
    """Whether a map is a flip, a quarter turn or a shift by whole pixels, or several of them."""
    whole = np.round(matrix)
    is_signed_permutation = np.array_equal(np.abs(whole[:2, :2]).sum(axis=0), (1, 1)) and np.array_equal(
        np.abs(whole[:2, :2]).sum(axis=1), (1, 1)
    )
    # An error of the linear part grows with the distance from the origin.
    near = np.abs(matrix - whole)
    return bool(is_signed_permutation and near[:, :2].max() < 1e-7 and near[:, 2].max() < _WHOLE_PIXEL)


def _average(image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shrink an image along the axes that ``matrix`` shrinks by 2 or more; returns it and the rest of the map."""
    height, width = image.shape[:2]
    x, y = width / 2, height / 2
    depth = matrix[2] @ (x, y, 1)
    jacobian = (matrix[:2, :2] - np.outer(matrix[:2] @ (x, y, 1) / depth, matrix[2, :2])) / depth
    factors = np.maximum(np.floor(1 / np.maximum(np.linalg.norm(jacobian, axis=0), 1e-6) + 1e-6), 1)
    if (factors == 1).all():
        return image, matrix
    small = (max(round(width / factors[0]), 1), max(round(height / factors[1]), 1))
    planes = image.reshape(height, width, -1)
    shrunk = [cv2.resize(plane, small, interpolation=cv2.INTER_AREA) for plane in np.moveaxis(planes, 2, 0)]
    image = np.stack(shrunk, axis=2).reshape(small[1], small[0], *image.shape[2:])
    return image, matrix @ file_scaling(image.shape[:2], (height, width))


@TRANSFORMS.register_module()
class WarpSecondLikeFirst(BaseTransform):
    """Warp the second image once, into the frame of the first, by every transform that the first went through.

    Put it after the geometric transforms. They act on the first image as ever and record ``homography_matrix``, as
    mmdet's Resize, RandomFlip and RandomCrop and this package's transforms do. The files of both sensors are taken to
    show the same ground, so sensors of other resolution are scaled; a misalignment that the dataset knows stays in the
    image, and is handed on as ``second_from_first`` of the images as they now are.

    Args:
        pad_val: Value of pixels that the second image does not cover or that are not finite, one number or one for
            each channel.
        interpolation: 'nearest', 'bilinear' or 'bicubic'.
        registered: Whether files of which the dataset knows no misalignment are registered. If they are not, their
            samples get no ``second_from_first``, and an aligner takes it as unknown.

    Raises:
        ConfigError: ``interpolation`` is unknown.
        InputError: The sample lacks one of the images, or the second was warped already.
    """

    def __init__(
        self, pad_val: float | Sequence[float] = 0, interpolation: str = 'bilinear', registered: bool = True
    ) -> None:
        if interpolation not in _INTERPOLATIONS:
            raise ConfigError(
                f'WarpSecondLikeFirst: interpolation is {interpolation!r}, expected one of {tuple(_INTERPOLATIONS)}.'
            )
        self.pad_val = pad_val
        self.interpolation = interpolation
        self.registered = registered

    def transform(self, results: dict) -> dict:
        """Warp ``second_img``; set ``second_from_first`` ``(3, 3)`` float64 of the two images, where it is known."""
        check_second(results, 'WarpSecondLikeFirst')
        if 'ori_shape' not in results:
            raise InputError('WarpSecondLikeFirst: the sample has no first image. Put LoadCheckedImage before it.')
        current = current_matrix(results)
        registered = file_scaling(results['ori_shape'], results['second_ori_shape'])  # second's file from first's
        warp = current @ results.get('second_jitter', np.eye(3)) @ np.linalg.inv(registered)
        height, width = results['img_shape']
        results['second_img'] = warp_image(
            results['second_img'], warp, (width, height), self.pad_val, self.interpolation
        )
        known = results.get('second_from_first')
        if known is None and self.registered:
            known = results.get('second_moved', np.eye(3)) @ registered
        if known is not None:
            second_from_first = warp @ known @ np.linalg.inv(current)
            results['second_from_first'] = second_from_first / second_from_first[2, 2]
        results['second_follows'] = current
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(pad_val={self.pad_val}, interpolation={self.interpolation!r}, '
            f'registered={self.registered})'
        )

"""Free rotation of image and boxes about the image centre."""

import math
import random
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox.box_type import autocast_box_type

from stn_det.errors import ConfigError
from stn_det.geometry import opencv_matrix

from .common import check_probability, check_sample, keep_instances, record_homography

_INTERPOLATIONS = {'nearest': cv2.INTER_NEAREST, 'bilinear': cv2.INTER_LINEAR, 'bicubic': cv2.INTER_CUBIC}
_CANVASES = ('keep', 'grow')


def rotation_about_centre(degrees: float, size: tuple[int, int], new_size: tuple[int, int]) -> np.ndarray:
    """Map of pixels, rotated from original, that takes the centre of one image to the centre of the other.

    Convention:
        Clockwise on screen (y down); continuous pixels.

    Args:
        degrees: Angle.
        size: ``(width, height)`` of the original.
        new_size: ``(width, height)`` of the rotated image.

    Returns:
        ``(3, 3)`` float64.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    cx, cy = size[0] / 2, size[1] / 2
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=np.float64)
    matrix[:2, 2] = np.array(new_size) / 2 - matrix[:2, :2] @ (cx, cy)
    return matrix


def grown_size(degrees: float, size: tuple[int, int]) -> tuple[int, int]:
    """Smallest whole ``(width, height)`` that holds the rotated image."""
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    width, height = size
    # The small term keeps a quarter turn from growing by a pixel through rounding.
    return math.ceil(width * cos + height * sin - 1e-6), math.ceil(width * sin + height * cos - 1e-6)


@TRANSFORMS.register_module()
class OrientedRandomRotate(BaseTransform):
    """Rotate image and boxes by a random angle about the image centre.

    Axis-aligned boxes would only grow, so they are refused. Boxes whose centre leaves the image go, together with
    their labels and flags.

    Args:
        prob: Probability of rotating at all.
        angle_range: Smallest and largest angle in degrees, positive clockwise on screen; a single number a means
            (-a, a).
        canvas: 'keep' keeps the size of the image and cuts its corners; 'grow' enlarges it so that nothing is lost.
        rect_obj_labels: Labels of round or square objects whose boxes are annotated upright, so that a free rotation
            would give them an angle that no annotator would. A sample holding one of them is turned by a random
            multiple of 90 degrees instead.
        border_value: Value for what was outside, one number or one for each channel.
        interpolation: 'nearest', 'bilinear' or 'bicubic'.

    Raises:
        ConfigError: An argument is out of range.
        InputError: The boxes are neither 'rbox' nor 'qbox'.
    """

    box_types = ('rbox', 'qbox')

    def __init__(
        self,
        prob: float = 0.5,
        angle_range: float | Sequence[float] = 180.0,
        canvas: str = 'keep',
        rect_obj_labels: Sequence[int] | None = None,
        border_value: float | Sequence[float] = 0,
        interpolation: str = 'bilinear',
    ) -> None:
        low_high = (-angle_range, angle_range) if isinstance(angle_range, (int, float)) else tuple(angle_range)
        if len(low_high) != 2 or not -360 <= low_high[0] <= low_high[1] <= 360:
            raise ConfigError(
                f'OrientedRandomRotate: angle_range is {angle_range!r}, expected degrees a or (low, high) within +-360.'
            )
        if canvas not in _CANVASES:
            raise ConfigError(f'OrientedRandomRotate: canvas is {canvas!r}, expected one of {_CANVASES}.')
        if interpolation not in _INTERPOLATIONS:
            raise ConfigError(
                f'OrientedRandomRotate: interpolation is {interpolation!r}, expected one of {tuple(_INTERPOLATIONS)}.'
            )
        self.prob = check_probability(prob, 'OrientedRandomRotate')
        self.angle_range = low_high
        self.canvas = canvas
        self.rect_obj_labels = tuple(rect_obj_labels or ())
        self.border_value = border_value
        self.interpolation = interpolation

    @cache_randomness
    def _draw_angles(self) -> tuple[float, float] | None:
        """Return a free angle and a multiple of 90, both in degrees, or None for no rotation."""
        if random.random() >= self.prob:
            return None
        return random.uniform(*self.angle_range), 90.0 * random.randrange(1, 4)

    def _is_restricted(self, results: dict) -> bool:
        labels = results.get('gt_bboxes_labels')
        return bool(self.rect_obj_labels) and labels is not None and bool(np.isin(labels, self.rect_obj_labels).any())

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Rotate the sample: ``img``, ``img_shape``, all per-instance entries, ``homography_matrix``."""
        check_sample(results, type(self).__name__, self.box_types)
        angles = self._draw_angles()
        if angles is None:
            return results
        degrees = angles[1] if self._is_restricted(results) else angles[0]
        height, width = results['img'].shape[:2]
        new_size = grown_size(degrees, (width, height)) if self.canvas == 'grow' else (width, height)
        matrix = rotation_about_centre(degrees, (width, height), new_size)
        results['img'] = self._warp(results['img'], matrix, new_size)
        results['img_shape'] = results['img'].shape[:2]
        if results.get('gt_bboxes') is not None:
            results['gt_bboxes'].project_(matrix)
            keep_instances(results, results['gt_bboxes'].is_inside(results['img_shape']))
        record_homography(results, matrix)
        return results

    def _warp(self, image: np.ndarray, matrix: np.ndarray, new_size: tuple[int, int]) -> np.ndarray:
        border = self.border_value if isinstance(self.border_value, (int, float)) else tuple(self.border_value)
        channels = 1 if image.ndim == 2 else image.shape[2]
        warped = cv2.warpAffine(
            image,
            opencv_matrix(torch.from_numpy(matrix)).numpy()[:2],
            new_size,
            flags=_INTERPOLATIONS[self.interpolation],
            borderValue=(border,) * min(channels, 4) if isinstance(border, (int, float)) else border,
        )
        return warped.reshape(*warped.shape[:2], *image.shape[2:])

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(prob={self.prob}, angle_range={self.angle_range}, canvas={self.canvas!r}, '
            f'rect_obj_labels={self.rect_obj_labels}, border_value={self.border_value}, '
            f'interpolation={self.interpolation!r})'
        )

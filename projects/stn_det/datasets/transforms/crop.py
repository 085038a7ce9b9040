"""Random crop that judges a box by the visible part of its area."""

import random
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox.box_type import autocast_box_type

from stn_det.errors import ConfigError

from .common import (
    apply_visibility,
    check_sample,
    check_visibility,
    ignore_flags,
    record_homography,
    visible_fraction,
)


@TRANSFORMS.register_module()
class OrientedRandomCrop(BaseTransform):
    """Cut a random window out of the image and keep the boxes that are mostly in it.

    The visible fraction of a box is the area of its polygon inside the window over its whole area. Boxes are not
    clipped: half an aircraft keeps the box of the aircraft. An image smaller than the window is cut where it can be.

    Several windows are tried until one holds a positive; the last resort is a window placed around a random positive.

    Args:
        crop_size: ``(width, height)`` of the window in pixels, or one number for a square.
        min_visibility: Visible fraction from which a box stays as it is.
        ignore_visibility: Visible fraction from which, up to ``min_visibility``, a box becomes a region to ignore;
            with less it goes.
        allow_negative_crop: Whether a window without a positive is fine. If not and none is found, the sample is
            None and the dataset draws another one.
        num_tries: Number of windows to try.

    Raises:
        ConfigError: An argument is out of range.
        InputError: The boxes are of an unknown type.
    """

    box_types = ('hbox', 'rbox', 'qbox')

    def __init__(
        self,
        crop_size: int | tuple[int, int],
        min_visibility: float = 0.5,
        ignore_visibility: float = 0.1,
        allow_negative_crop: bool = False,
        num_tries: int = 8,
    ) -> None:
        size = (crop_size, crop_size) if isinstance(crop_size, int) else tuple(crop_size)
        if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
            raise ConfigError(
                f'OrientedRandomCrop: crop_size is {crop_size!r}, expected pixels above 0 as n or (width, height).'
            )
        if num_tries < 1:
            raise ConfigError(f'OrientedRandomCrop: num_tries is {num_tries!r}, expected 1 or more.')
        check_visibility(min_visibility, ignore_visibility, 'OrientedRandomCrop')
        self.crop_size = size
        self.min_visibility = min_visibility
        self.ignore_visibility = ignore_visibility
        self.allow_negative_crop = allow_negative_crop
        self.num_tries = num_tries

    @cache_randomness
    def _draw_positions(self) -> list[tuple[float, float, float]]:
        """Return for each try, and once more for the last resort, x, y and choice of object, each in [0, 1)."""
        return [(random.random(), random.random(), random.random()) for _ in range(self.num_tries + 1)]

    @autocast_box_type()
    def transform(self, results: dict) -> dict | None:
        """Crop the sample: ``img``, ``img_shape``, all per-instance entries, ``homography_matrix``."""
        check_sample(results, type(self).__name__, self.box_types)
        height, width = results['img'].shape[:2]
        window_size = (min(self.crop_size[0], width), min(self.crop_size[1], height))
        positions = self._draw_positions()
        margins = (width - window_size[0], height - window_size[1])
        offset = self._free_offset(positions[0], margins)
        if results.get('gt_bboxes') is not None and not self.allow_negative_crop:
            found = self._find_positive(results, positions, margins, window_size)
            if found is None:
                return None
            offset = found
        return self._cut(results, offset, window_size)

    @staticmethod
    def _free_offset(position: tuple[float, float, float], margins: tuple[int, int]) -> tuple[int, int]:
        return int(position[0] * (margins[0] + 1)), int(position[1] * (margins[1] + 1))

    def _find_positive(
        self,
        results: dict,
        positions: list[tuple[float, float, float]],
        margins: tuple[int, int],
        window_size: tuple[int, int],
    ) -> tuple[int, int] | None:
        positives = results['gt_bboxes'][(~ignore_flags(results)).nonzero().flatten()]
        if len(positives) == 0:
            return None
        candidates = [self._free_offset(position, margins) for position in positions[:-1]]
        chosen = positives.centers[int(positions[-1][2] * len(positives))].tolist()
        candidates.append(self._offset_around(chosen, positions[-1], margins, window_size))
        for x, y in candidates:
            visible = visible_fraction(positives, (x, y, x + window_size[0], y + window_size[1])).nan_to_num(0.0)
            if ((visible >= self.min_visibility) & (visible > 0)).any():
                return x, y
        return None

    @staticmethod
    def _offset_around(
        centre: Sequence[float],
        position: tuple[float, float, float],
        margins: tuple[int, int],
        window_size: tuple[int, int],
    ) -> tuple[int, int]:
        """A window that has the point in its middle half, where the image allows it."""
        x, y = (
            int(min(max(c - (0.25 + 0.5 * u) * side, 0), margin))
            for c, u, side, margin in zip(centre, position, window_size, margins)
        )
        return x, y

    def _cut(self, results: dict, offset: tuple[int, int], window_size: tuple[int, int]) -> dict:
        (x, y), (width, height) = offset, window_size
        results['img'] = np.ascontiguousarray(results['img'][y : y + height, x : x + width])
        results['img_shape'] = results['img'].shape[:2]
        if results.get('gt_bboxes') is not None:
            visible = visible_fraction(results['gt_bboxes'], (x, y, x + width, y + height))
            apply_visibility(results, visible, self.min_visibility, self.ignore_visibility)
            results['gt_bboxes'].translate_((-x, -y))
        record_homography(results, np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]], dtype=np.float64))
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(crop_size={self.crop_size}, min_visibility={self.min_visibility}, '
            f'ignore_visibility={self.ignore_visibility}, allow_negative_crop={self.allow_negative_crop}, '
            f'num_tries={self.num_tries})'
        )

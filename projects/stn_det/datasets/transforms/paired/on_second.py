"""Runs transforms on the second image alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform, Compose
from mmdet.registry import TRANSFORMS

from stn_det.errors import ConfigError, InputError

from ...paired_pipeline import check_paired_pipeline


@TRANSFORMS.register_module()
class OnSecond(BaseTransform):
    """Run photometric transforms, such as PhotoMetricDistortion or CutOut, on the second image.

    Args:
        transforms: Configs of the transforms; they see the second image as ``img``, and no labels.

    Raises:
        ConfigError: A transform is known to move pixels, or moved some: that is for the transforms of the first image,
            or for ``JitterSecond``.
        InputError: There is no second image.

    Example:
        >>> dict(type='OnSecond', transforms=[dict(type='PhotoMetricDistortion', saturation_range=(1, 1), hue_delta=0)])
    """

    def __init__(self, transforms: Sequence[dict]) -> None:
        check_paired_pipeline(transforms)
        self.transforms = Compose(list(transforms))

    def transform(self, results: dict) -> dict:
        """Replace ``second_img`` by what the transforms make of it."""
        image = results.get('second_img')
        if not isinstance(image, np.ndarray):
            raise InputError('OnSecond: the sample has no second image. Put LoadSecondImageFromFile before it.')
        sample: dict[str, Any] | None = dict(
            img=image,
            img_shape=image.shape[:2],
            ori_shape=results['second_ori_shape'],
            img_path=results.get('second_img_path'),
        )
        sample = self.transforms(sample)
        moved = sample is None or 'homography_matrix' in sample or sample['img'].shape[:2] != image.shape[:2]
        if moved:
            raise ConfigError(
                f'OnSecond: {self.transforms} changes geometry or drops samples; only photometric transforms fit here. '
                'Put geometry outside, where it moves both sensors, or use JitterSecond.'
            )
        results['second_img'] = sample['img']
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(transforms={self.transforms})'

"""Mix-up of two images with oriented boxes."""

import random
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS

from stn_det.errors import ConfigError, InputError

from .common import check_probability, check_sample
from .mixing import check_alike, join_instances


@TRANSFORMS.register_module()
class OrientedMixUp(BaseTransform):
    """Lay two images over each other, both half transparent, and keep the boxes of both.

    Proposed for classification in "mixup: Beyond Empirical Risk Minimization" https://arxiv.org/abs/1710.09412; for
    detection objects keep full weight, as in "Bag of Freebies for Training Object Detection Neural Networks"
    https://arxiv.org/abs/1902.04103. Use it in the pipeline of ``MultiImageMixDataset``, where images have one size.

    Args:
        ratio_range: Range that the weight of the first image is drawn from.
        prob: Probability of mixing; otherwise the sample passes unchanged. It is drawn before the other image is asked
            for, so that none is loaded in vain.

    Raises:
        ConfigError: An argument is out of range.
        InputError: The other image is missing, or sizes, box types or channels differ.
    """

    box_types = ('hbox', 'rbox', 'qbox')

    def __init__(self, ratio_range: tuple[float, float] = (0.45, 0.55), prob: float = 0.5) -> None:
        if len(ratio_range) != 2 or not 0 < ratio_range[0] <= ratio_range[1] < 1:
            raise ConfigError(f'OrientedMixUp: ratio_range is {ratio_range!r}, expected 0 < low <= high < 1.')
        self.ratio_range = tuple(ratio_range)
        self.prob = check_probability(prob, 'OrientedMixUp')

    @cache_randomness
    def get_indexes(self, dataset: Any) -> list[int]:
        """Draw the other image, or none for no mixing; ``MultiImageMixDataset`` asks for it."""
        return [random.randrange(len(dataset))] if random.random() < self.prob else []

    @cache_randomness
    def _draw_ratio(self) -> float:
        return random.uniform(*self.ratio_range)

    def transform(self, results: dict) -> dict:
        """Mix: ``img`` and all per-instance entries; a former ``homography_matrix`` goes."""
        others = results.get('mix_results')
        if others == []:
            return results
        if others is None or len(others) != 1:
            raise InputError(
                f'OrientedMixUp: the sample has {0 if others is None else len(others)} further images in mix_results, '
                'expected 1. Put it into the pipeline of MultiImageMixDataset.'
            )
        samples = [results, others[0]]
        for sample in samples:
            check_sample(sample, 'OrientedMixUp', self.box_types)
        check_alike(samples, 'OrientedMixUp')
        first, second = (sample['img'] for sample in samples)
        if first.shape != second.shape:
            raise InputError(
                f'OrientedMixUp: the images have shapes {first.shape} and {second.shape}, expected one. Put Resize '
                'with keep_ratio=False, a crop or Pad into the pipeline of the dataset within.'
            )
        ratio = self._draw_ratio()
        mixed = ratio * first.astype(np.float32) + (1 - ratio) * second.astype(np.float32)
        results['img'] = (mixed.round() if np.issubdtype(first.dtype, np.integer) else mixed).astype(first.dtype)
        # One matrix cannot describe two images, and a stale one would mislead.
        results.pop('homography_matrix', None)
        join_instances(results, samples)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(ratio_range={self.ratio_range}, prob={self.prob})'

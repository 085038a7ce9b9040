"""Turns by 90, 180 and 270 degrees, exact for image and boxes alike."""

import random
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import BaseBoxes
from mmdet.structures.bbox.box_type import autocast_box_type

from stn_det.errors import ConfigError

from .common import check_probability, check_sample, record_homography


def turn_image(image: np.ndarray, turns: int) -> np.ndarray:
    """Turn an image ``(H, W)`` or ``(H, W, C)`` clockwise by ``turns`` times 90 degrees; every pixel is kept."""
    return np.ascontiguousarray(np.rot90(image, -turns))


def turn_matrix(turns: int, width: int, height: int) -> np.ndarray:
    """Map of pixels, turned from original.

    Convention:
        Clockwise on screen; the image ``[0, width] x [0, height]`` lands with its corner at the origin again.

    Args:
        turns: Number of clockwise quarter turns.
        width: Width of the original image in pixels.
        height: Height of the original image in pixels.

    Returns:
        ``(3, 3)`` float64.
    """
    matrices = (
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, -1, height], [1, 0, 0], [0, 0, 1]],
        [[-1, 0, width], [0, -1, height], [0, 0, 1]],
        [[0, 1, 0], [-1, 0, width], [0, 0, 1]],
    )
    return np.array(matrices[turns % 4], dtype=np.float64)


def turn_boxes(boxes: BaseBoxes, turns: int, width: int, height: int) -> None:
    """Turn boxes in place together with the image of ``turn_image``; ``width`` and ``height`` are the original ones."""
    if turns % 4:
        boxes.project_(turn_matrix(turns, width, height))


@TRANSFORMS.register_module()
class RandomQuarterTurn(BaseTransform):
    """Turn image and boxes by a random multiple of 90 degrees; height and width swap for odd ones.

    Overhead scenes have no upright, and unlike a free rotation this neither blurs nor cuts, so it suits every class.

    Args:
        prob: Probability of turning at all.
        turns: Numbers of clockwise quarter turns to draw from, each from 1 to 3.

    Raises:
        ConfigError: An argument is out of range.
        InputError: The boxes are of an unknown type.
    """

    box_types = ('hbox', 'rbox', 'qbox')

    def __init__(self, prob: float = 0.75, turns: Sequence[int] = (1, 2, 3)) -> None:
        if not turns or not set(turns) <= {1, 2, 3}:
            raise ConfigError(f'RandomQuarterTurn: turns is {turns!r}, expected numbers from 1 to 3 such as (1, 2, 3).')
        self.prob = check_probability(prob, 'RandomQuarterTurn')
        self.turns = tuple(turns)

    @cache_randomness
    def _draw_turns(self) -> int:
        return random.choice(self.turns) if random.random() < self.prob else 0

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Turn the sample: ``img``, ``img_shape``, ``gt_bboxes``, ``homography_matrix``."""
        check_sample(results, type(self).__name__, self.box_types)
        turns = self._draw_turns()
        if turns == 0:
            return results
        height, width = results['img'].shape[:2]
        results['img'] = turn_image(results['img'], turns)
        results['img_shape'] = results['img'].shape[:2]
        if results.get('gt_bboxes') is not None:
            turn_boxes(results['gt_bboxes'], turns, width, height)
        record_homography(results, turn_matrix(turns, width, height))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, turns={self.turns})'

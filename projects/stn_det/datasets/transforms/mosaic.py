"""Mosaic of four images for oriented boxes, each quadrant turned on its own."""

import copy
import random
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox.box_type import autocast_box_type

from stn_det.errors import ConfigError, InputError

from .common import (
    apply_visibility,
    check_probability,
    check_sample,
    check_visibility,
    instance_keys,
    visible_fraction,
)
from .mixing import check_alike, join_instances
from .quarter_turn import turn_boxes, turn_image

NUM_QUADRANTS = 4


@TRANSFORMS.register_module()
class OrientedMosaic(BaseTransform):
    """Put four images around a random centre on a canvas of twice the image size.

    Introduced in "YOLOv4: Optimal Speed and Accuracy of Object Detection", https://arxiv.org/abs/2004.10934. Here each
    image may first be turned by its own multiple of 90 degrees, which changes the heading of whole scenes without the
    blur of a free rotation, and an object cut by the edge of its quadrant is judged by its visible fraction instead of
    keeping the box of the whole. Use it in the pipeline of ``MultiImageMixDataset``, and ``OrientedRandomCrop`` or
    ``Resize`` after it.

    Args:
        img_scale: ``(width, height)`` in pixels that each image is fitted into; the canvas is twice as wide and high.
        center_ratio_range: Range of the common corner, in units of ``img_scale``.
        quarter_turns: Whether each image is turned by its own multiple of 90 degrees.
        min_visibility: Visible fraction from which a box stays as it is.
        ignore_visibility: Visible fraction from which, up to ``min_visibility``, a box becomes a region to ignore.
        pad_val: Value of the canvas where no image lies.
        prob: Probability of making a mosaic; otherwise the sample passes unchanged. It is drawn before the other
            images are asked for, so that none is loaded in vain.

    Raises:
        ConfigError: An argument is out of range.
        InputError: The three other images are missing, or box types or channels differ.
    """

    box_types = ('hbox', 'rbox', 'qbox')

    def __init__(
        self,
        img_scale: tuple[int, int] = (640, 640),
        center_ratio_range: tuple[float, float] = (0.5, 1.5),
        quarter_turns: bool = True,
        min_visibility: float = 0.5,
        ignore_visibility: float = 0.1,
        pad_val: float = 114.0,
        prob: float = 1.0,
    ) -> None:
        name = 'OrientedMosaic'
        if len(img_scale) != 2 or not all(isinstance(side, int) and side > 0 for side in img_scale):
            raise ConfigError(f'{name}: img_scale is {img_scale!r}, expected (width, height) in pixels above 0.')
        if len(center_ratio_range) != 2 or not 0 < center_ratio_range[0] <= center_ratio_range[1] < 2:
            raise ConfigError(f'{name}: center_ratio_range is {center_ratio_range!r}, expected 0 < low <= high < 2.')
        check_visibility(min_visibility, ignore_visibility, name)
        self.prob = check_probability(prob, name)
        self.img_scale = tuple(img_scale)
        self.center_ratio_range = tuple(center_ratio_range)
        self.quarter_turns = quarter_turns
        self.min_visibility = min_visibility
        self.ignore_visibility = ignore_visibility
        self.pad_val = pad_val

    @cache_randomness
    def get_indexes(self, dataset: Any) -> list[int]:
        """Draw the other three images, or none for no mosaic; ``MultiImageMixDataset`` asks for them."""
        if random.random() >= self.prob:
            return []
        return [random.randrange(len(dataset)) for _ in range(NUM_QUADRANTS - 1)]

    @cache_randomness
    def _draw_layout(self) -> tuple[tuple[int, int], list[int]]:
        """Return the common corner in pixels of the canvas and the turns of each quadrant."""
        x, y = (round(random.uniform(*self.center_ratio_range) * side) for side in self.img_scale)
        return (x, y), [random.randrange(4) if self.quarter_turns else 0 for _ in range(NUM_QUADRANTS)]

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Make the mosaic: ``img``, ``img_shape``, all per-instance entries; a former ``homography_matrix`` goes."""
        if results.get('mix_results') == []:
            return results
        samples = self._check_samples(results)
        corner, turns = self._draw_layout()
        canvas_size = (2 * self.img_scale[0], 2 * self.img_scale[1])
        image = results['img']
        canvas = np.full((canvas_size[1], canvas_size[0], *image.shape[2:]), self.pad_val, dtype=image.dtype)
        patches = []
        for quadrant, sample in enumerate(samples):
            patch = {key: copy.deepcopy(sample[key]) for key in ['img', *instance_keys(sample)]}
            self._prepare(patch, turns[quadrant])
            self._paste(patch, canvas, quadrant, corner)
            patches.append(patch)
        results['img'] = canvas
        results['img_shape'] = canvas.shape[:2]
        # One matrix cannot describe four images, and a stale one would mislead.
        results.pop('homography_matrix', None)
        join_instances(results, patches)
        return results

    def _check_samples(self, results: dict) -> list[dict]:
        others = results.get('mix_results')
        if others is None or len(others) != NUM_QUADRANTS - 1:
            raise InputError(
                f'OrientedMosaic: the sample has {0 if others is None else len(others)} further images in mix_results, '
                f'expected {NUM_QUADRANTS - 1}. Put it into the pipeline of MultiImageMixDataset.'
            )
        samples = [results, *others]
        for sample in samples:
            check_sample(sample, 'OrientedMosaic', self.box_types)
        check_alike(samples, 'OrientedMosaic')
        return samples

    def _prepare(self, patch: dict, turns: int) -> None:
        """Turn one sample and fit it into ``img_scale``."""
        height, width = patch['img'].shape[:2]
        image = turn_image(patch['img'], turns)
        boxes = patch.get('gt_bboxes')
        if boxes is not None:
            turn_boxes(boxes, turns, width, height)
        height, width = image.shape[:2]
        ratio = min(self.img_scale[0] / width, self.img_scale[1] / height)
        size = (max(round(width * ratio), 1), max(round(height * ratio), 1))
        resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) if size != (width, height) else image
        patch['img'] = resized.reshape(*resized.shape[:2], *image.shape[2:])
        if boxes is not None and size != (width, height):
            boxes.rescale_((size[0] / width, size[1] / height))

    def _paste(self, patch: dict, canvas: np.ndarray, quadrant: int, corner: tuple[int, int]) -> None:
        """Lay one sample with its inner corner on the common corner, cut it at the canvas, judge its boxes."""
        height, width = patch['img'].shape[:2]
        left = corner[0] - width if quadrant in (0, 2) else corner[0]
        top = corner[1] - height if quadrant in (0, 1) else corner[1]
        x1, y1 = max(left, 0), max(top, 0)
        x2, y2 = min(left + width, canvas.shape[1]), min(top + height, canvas.shape[0])
        canvas[y1:y2, x1:x2] = patch['img'][y1 - top : y2 - top, x1 - left : x2 - left]
        if patch.get('gt_bboxes') is not None:
            patch['gt_bboxes'].translate_((left, top))
            visible = visible_fraction(patch['gt_bboxes'], (x1, y1, x2, y2))
            apply_visibility(patch, visible, self.min_visibility, self.ignore_visibility)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(img_scale={self.img_scale}, center_ratio_range={self.center_ratio_range}, '
            f'quarter_turns={self.quarter_turns}, min_visibility={self.min_visibility}, '
            f'ignore_visibility={self.ignore_visibility}, pad_val={self.pad_val}, prob={self.prob})'
        )

"""A known distortion of an image and its labels, to measure how a detector bears it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import get_box_type
from torch import Tensor

from stn_det.errors import ConfigError, InputError
from stn_det.geometry import rbox_to_qbox, scaling, transform_qboxes, transform_rboxes
from stn_det.geometry.resample import resample_image

from ..distortions import DISTORTIONS, drawn_direction
from .common import visible_fraction

RBOX_DIM, QBOX_DIM = 5, 8


@TRANSFORMS.register_module()
class DistortImage(BaseTransform):
    """Distort the image about its centre, within its frame, and map the truth by the same matrix.

    It stands right behind the loading of the image and works on the labels as the dataset hands them on
    (``results['instances']``): for all that follows, the distorted image is the original one, and a test pipeline that
    loads its truth in the frame of the original image needs no change. Four corners stay four corners; rboxes follow
    :func:`stn_det.geometry.transform_rboxes`, which is exact for turns and scales. The identity leaves image and boxes
    as they are, bit for bit. ``second_from_first`` of a pair is kept true.

    Objects whose box is cut by the frame at any of ``levels`` become regions to ignore at every level, so that the
    same objects are counted over a family of distortions.

    Args:
        family: 'rotation' (degrees, clockwise), 'scale' (factor), 'shear' (pixels per pixel), 'obliquity' (degrees:
            the ground shortened by the cosine along a direction), 'perspective' (the same with a near camera), or
            'shift' (pixels, of the second image of a pair alone).
        level: Strength, in the unit of the family.
        levels: All levels that are compared. Those of ``level`` and of the identity are added.
        min_visible: Share of the area of a box that has to be inside of the frame, in [0, 1]. 0 counts all objects.
        seed: Direction of shear, obliquity and shift are drawn from it and from the name of the image.
        image_keys: Entries of the sample that hold its images, the one with the labels first. For images of other
            sizes than the first the matrix is scaled to theirs.
        fill: Colour of what no pixel covers by image key; by default the mean colour of the image.

    Raises:
        ConfigError: An argument is out of range, or the sample holds an image that is not among ``image_keys``.
        InputError: The sample has no image, loaded truth or boxes of another kind.

    Example:
        >>> step = dict(type='DistortImage', family='rotation', level=30, levels=(0, 30, 60), fill=dict(img=114))
    """

    def __init__(
        self,
        family: str,
        level: float,
        levels: Sequence[float] = (),
        min_visible: float = 0.75,
        seed: int = 0,
        image_keys: Sequence[str] = ('img',),
        fill: Mapping[str, float | Sequence[float]] | None = None,
    ) -> None:
        if family not in DISTORTIONS:
            raise ConfigError(f'DistortImage: family is {family!r}, expected one of {tuple(DISTORTIONS)}.')
        self.family = DISTORTIONS[family]
        self.level = float(level)
        self.levels = self.family.check_levels((*levels, level))
        if not 0 <= min_visible <= 1:
            raise ConfigError(f'DistortImage: min_visible is {min_visible!r}, expected a share from 0 to 1.')
        self.min_visible = min_visible
        self.seed = seed
        self.image_keys = tuple(image_keys)
        self.fill = dict(fill or {})
        if self.family.second_only and len(self.image_keys) < 2:
            raise ConfigError(
                f'DistortImage: {family} moves the second image of a pair, but image_keys is {self.image_keys}.'
            )

    def transform(self, results: dict) -> dict:
        """Distort the images, and ``instances`` where the family moves the first image."""
        first = self._check(results).shape[:2]
        direction = drawn_direction(self.seed, Path(str(results.get('img_path', ''))).name)
        size = (first[1], first[0])
        moved = self.image_keys[1:] if self.family.second_only else self.image_keys
        if self.level != self.family.identity:
            matrix = self.family.matrix(self.level, size, direction)
            for key in moved:
                own = _in_frame_of(results[key], matrix, size)
                results[key] = self._resample(results[key], own, key)
                if key == 'second_img':
                    self._keep_alignment(results, matrix.numpy(), own.numpy())
        if results.get('instances') and not self.family.second_only:
            matrices = [self.family.matrix(level, size, direction) for level in self.levels]
            results['instances'] = self._move(results['instances'], torch.stack(matrices), size)
        return results

    def _check(self, results: dict) -> np.ndarray:
        """The first image of a sample, once all is there and nothing is too late."""
        for key in self.image_keys:
            if not isinstance(results.get(key), np.ndarray):
                raise InputError(
                    f"DistortImage: the sample has no image in results['{key}']. Put it after the loading."
                )
        images = (key for key, value in results.items() if 'img' in key and isinstance(value, np.ndarray))
        left = [key for key in images if results[key].ndim >= 2 and key not in self.image_keys]
        if left:
            raise ConfigError(
                f'DistortImage: the sample holds the images {left}, which it would not move. Give image_keys.'
            )
        if results.get('gt_bboxes') is not None:
            raise InputError(
                'DistortImage: the sample holds gt_bboxes, which it does not move. Put it before LoadAnnotations.'
            )
        image: np.ndarray = results[self.image_keys[0]]
        return image

    def _resample(self, image: np.ndarray, matrix: Tensor, key: str) -> np.ndarray:
        """Distort one image by a matrix in its own frame."""
        fill = self.fill.get(key)
        return resample_image(image, matrix, image.mean(axis=(0, 1)) if fill is None else fill)

    def _keep_alignment(self, results: dict, first: np.ndarray, second: np.ndarray) -> None:
        """Carry the known misalignment of the files on, where the images were moved by two matrices (3, 3)."""
        known = results.get('second_from_first')
        if self.family.second_only:
            first = np.eye(3)
            if known is None:  # whether the files are registered is for WarpSecondLikeFirst to say
                results['second_moved'] = second @ results.get('second_moved', np.eye(3))
        if known is not None:
            results['second_from_first'] = second @ known @ np.linalg.inv(first)

    def _move(self, instances: list[dict], matrices: Tensor, size: tuple[int, int]) -> list[dict]:
        """Instances of the distorted image; those cut by the frame at any of the levels (L, 3, 3) are ignored."""
        boxes = _boxes(instances)
        corners = rbox_to_qbox(boxes) if boxes.shape[1] == RBOX_DIM else boxes
        everywhere = transform_qboxes(corners, matrices[:, None])  # (L, N, 8)
        inside = visible_fraction(get_box_type('qbox')[1](everywhere.flatten(0, 1)), (0, 0, *size))
        seen = inside.nan_to_num(0.0).view(len(matrices), -1).amin(dim=0) >= self.min_visible
        if self.level != self.family.identity:
            move = transform_rboxes if boxes.shape[1] == RBOX_DIM else transform_qboxes
            boxes = move(boxes, matrices[self.levels.index(self.level)])
            instances = [dict(item, bbox=box) for item, box in zip(instances, boxes.tolist())]
        return [
            item if kept or item.get('ignore_flag') else dict(item, ignore_flag=1, ignore_reason='leaves-frame')
            for item, kept in zip(instances, seen.tolist())
        ]

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(family={self.family.name!r}, level={self.level}, levels={self.levels}, '
            f'min_visible={self.min_visible}, seed={self.seed}, image_keys={self.image_keys}, fill={self.fill})'
        )


def _in_frame_of(image: np.ndarray, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """A matrix that is meant in a frame of ``size`` (width, height), in that of an image of the same scene."""
    height, width = image.shape[:2]
    if (width, height) == size:
        return matrix
    to_own = scaling(width / size[0], height / size[1])
    return to_own @ matrix @ torch.linalg.inv(to_own)


def _boxes(instances: list[dict]) -> Tensor:
    """Boxes of the instances (N, 5) or (N, 8), float64."""
    lengths = {len(item['bbox']) for item in instances}
    if lengths not in ({RBOX_DIM}, {QBOX_DIM}):
        raise InputError(
            f'DistortImage: the boxes of the dataset have {sorted(lengths)} numbers, expected 5 (cx, cy, w, h, theta) '
            'or 8 (four corners) in all instances. Use DOTADataset or RotatedCocoDataset.'
        )
    return torch.tensor([item['bbox'] for item in instances], dtype=torch.float64)

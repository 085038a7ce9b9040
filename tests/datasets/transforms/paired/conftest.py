"""Pairs of images with a dot in each channel, whose centroids say where pixels went."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

POINTS = np.array([[52.3, 41.8], [70.0, 47.5], [60.4, 35.2]])
SIZE = (120, 90)


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 2) mapped by a matrix (3, 3)."""
    mapped = np.c_[points, np.ones(len(points))] @ np.asarray(matrix, dtype=np.float64).T
    return mapped[:, :2] / mapped[:, 2:]


def _dots(points: np.ndarray, size: tuple[int, int], sigma: float = 3.0) -> np.ndarray:
    """Image (H, W, N) float32 of ``size`` (width, height) with one Gaussian dot in each channel."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]] + 0.5
    squared = (x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2
    return (200 * np.exp(-squared / (2 * sigma**2))).astype(np.float32)


def _centroids(image: np.ndarray) -> np.ndarray:
    """Centroid (N, 2) of each channel in continuous pixels."""
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]] + 0.5
    weight = image.astype(np.float64)
    total = weight.sum(axis=(0, 1))
    return (
        np.stack([(x[..., None] * weight).sum(axis=(0, 1)), (y[..., None] * weight).sum(axis=(0, 1))], 1)
        / total[:, None]
    )


@pytest.fixture
def dots() -> SimpleNamespace:
    """Functions to draw dots, to find them and to map points."""
    return SimpleNamespace(draw=_dots, find=_centroids, apply=_apply, points=POINTS)


@pytest.fixture
def make_pair() -> Callable[..., dict]:
    """Return a function that makes a loaded pair.

    The second image may have another size, and be misaligned by a known ``second_from_first``.
    """

    def make(second_size: tuple[int, int] = SIZE, second_from_first: np.ndarray | None = None) -> dict:
        import torch
        from mmdet.structures.bbox import get_box_type

        registered = np.diag([second_size[0] / SIZE[0], second_size[1] / SIZE[1], 1.0])
        matrix = registered if second_from_first is None else second_from_first
        boxes = np.c_[POINTS, np.full((3, 2), (16.0, 8.0)), (0.4, -1.1, 1.3)]
        sample = dict(
            img_id='a',
            img_path='a.png',
            img=_dots(POINTS, SIZE),
            img_shape=SIZE[::-1],
            ori_shape=SIZE[::-1],
            second_img_path='a_ir.png',
            second_img=_dots(_apply(matrix, POINTS), second_size, 3.0 * second_size[0] / SIZE[0]),
            second_ori_shape=second_size[::-1],
            gt_bboxes=get_box_type('rbox')[1](torch.from_numpy(boxes).float()),
            gt_bboxes_labels=np.array([0, 1, 2]),
            gt_ignore_flags=np.array([False, False, True]),
        )
        if second_from_first is not None:
            sample['second_from_first'] = second_from_first
        return sample

    return make

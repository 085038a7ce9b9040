"""Fixtures of the dataset tests: small datasets on disk, and images with rendered boxes."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

import stn_det.mmcv_bridge  # noqa: F401  mmdet needs it before its first import
from stn_det.datasets import dota, rotated_coco, transforms  # noqa: F401  register with mmdet


@pytest.fixture(autouse=True)
def _seeded_python() -> None:
    """The transforms draw from Python's generator, mmdet's from numpy's."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002


@pytest.fixture(autouse=True)
def _mmdet_scope() -> Iterator[None]:
    """Pipelines are built as the runner does it, in mmdet's scope."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture
def make_dota(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a dataset in DOTA layout: label text by stem, None for an image without labels."""

    def make(labels: dict[str, str | None], size: tuple[int, int] = (100, 80), suffix: str = '.png') -> Path:
        for folder in ('images', 'labelTxt'):
            (tmp_path / folder).mkdir(exist_ok=True)
        for stem, text in labels.items():
            cv2.imwrite(str(tmp_path / 'images' / (stem + suffix)), np.full((size[1], size[0], 3), 90, np.uint8))
            if text is not None:
                (tmp_path / 'labelTxt' / f'{stem}.txt').write_text(text, encoding='utf-8')
        return tmp_path

    return make


@pytest.fixture
def make_coco(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a rotated COCO dataset with one 100x80 image for each entry of ``images``."""

    def make(annotations: list[dict], images: list[dict] | None = None, categories: list[dict] | None = None) -> Path:
        images = images if images is not None else [dict(id=7, file_name='a.png', width=100, height=80)]
        categories = categories if categories is not None else [dict(id=0, name='car'), dict(id=1, name='boat')]
        (tmp_path / 'images').mkdir(exist_ok=True)
        for entry in images:
            name = entry.get('file_name', entry.get('filename'))
            if name:
                cv2.imwrite(str(tmp_path / 'images' / name), np.full((80, 100, 3), 90, np.uint8))
        payload = dict(images=images, annotations=annotations, categories=categories)
        (tmp_path / 'ann.json').write_text(json.dumps(payload), encoding='utf-8')
        return tmp_path

    return make


def _render(rboxes: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """Draw up to three boxes (N, 5), one in each channel of an image of ``size`` (width, height), anti-aliased."""
    width, height = size
    fine = 8
    y, x = np.mgrid[0 : height * fine, 0 : width * fine].astype(np.float64)
    x, y = (x + 0.5) / fine, (y + 0.5) / fine
    image = np.zeros((height, width, 3), dtype=np.uint8)
    for channel, (cx, cy, w, h, theta) in enumerate(rboxes.tolist()):
        along = (x - cx) * np.cos(theta) + (y - cy) * np.sin(theta)
        across = -(x - cx) * np.sin(theta) + (y - cy) * np.cos(theta)
        inside = (np.abs(along) <= w / 2) & (np.abs(across) <= h / 2)
        cover = inside.reshape(height, fine, width, fine).mean(axis=(1, 3))
        image[..., channel] = np.round(255 * cover)
    return image


def _measure(image: np.ndarray) -> np.ndarray:
    """Corners (3, 4, 2) of the rectangles that have the area moments of the three channels; continuous pixels."""
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width] + 0.5
    found = []
    for channel in range(3):
        weight = image[..., channel].astype(np.float64)
        total = weight.sum()
        mean = np.array([(x * weight).sum(), (y * weight).sum()]) / total
        dx, dy = x - mean[0], y - mean[1]
        # A filled rectangle has the variance side^2 / 12 along each side.
        covariance = np.array([[(dx * dx * weight).sum(), (dx * dy * weight).sum()], [0, (dy * dy * weight).sum()]])
        values, vectors = np.linalg.eigh(covariance / total, UPLO='U')
        arms = vectors * np.sqrt(12 * values) / 2
        found.append([mean + s * arms[:, 0] + t * arms[:, 1] for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    return np.array(found)


def _farthest_corner(boxes, image: np.ndarray) -> float:
    """Largest distance in pixels from a corner of a box to the nearest corner of what the image shows."""
    corners = boxes.convert_to('qbox').tensor.double().reshape(-1, 4, 2).numpy()
    distances = np.linalg.norm(corners[:, :, None] - _measure(image)[:, None], axis=-1)
    return float(max(distances.min(axis=2).max(), distances.min(axis=1).max()))


@pytest.fixture
def rendered() -> SimpleNamespace:
    """Functions to draw boxes and to measure what an image shows."""
    return SimpleNamespace(render=_render, measure=_measure, farthest_corner=_farthest_corner)


@pytest.fixture
def make_sample() -> Callable[..., dict]:
    """Return a function that makes a sample with three rendered boxes on an image that is not square."""

    def make(box_type: str = 'rbox', size: tuple[int, int] = (120, 90)) -> dict:
        from mmdet.structures.bbox import get_box_type

        rboxes = torch.tensor(
            [[52.3, 41.8, 33.0, 12.0, 0.4], [66.0, 47.5, 21.0, 15.0, -1.1], [60.4, 40.2, 26.5, 9.0, 1.3]]
        )
        boxes = get_box_type('rbox')[1](rboxes).convert_to(box_type)
        return dict(
            img=_render(rboxes, size),
            img_shape=size[::-1],
            gt_bboxes=boxes,
            gt_bboxes_labels=np.array([0, 1, 2]),
            gt_ignore_flags=np.array([False, False, True]),
            gt_instances_ids=np.array([10, 11, 12]),
        )

    return make

"""Draw ``docs/images/pairs.jpg``: a generated pair as it leaves a training pipeline, with labels in both images.

python docs/make_pairs_picture.py
"""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from mmengine.registry import init_default_scope

import stn_det.register  # noqa: F401
from stn_det.datasets import DOTADataset
from stn_det.datasets.scenes import CLASSES, SceneConfig, write_scenes
from stn_det.geometry import rbox_to_qbox, transform_points

PIPELINE = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadSecondImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(type='OrientedRandomRotate', prob=1.0),
    dict(type='RandomFlip', prob=1.0),
    dict(type='OrientedRandomCrop', crop_size=230),
    dict(type='Resize', scale=(460, 460)),
    dict(type='WarpSecondLikeFirst'),
    dict(type='PackPairedInputs'),
]


def outline(image: np.ndarray, quads: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draw quadrilaterals (N, 4, 2) in continuous pixels on an image (H, W, 3), in place."""
    points = np.round((quads - 0.5) * 16).astype(np.int32)
    cv2.polylines(image, list(points), True, colour, 1, cv2.LINE_AA, 4)


def draw(path: Path) -> None:
    """Write the picture."""
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002  mmdet's transforms draw from it
    init_default_scope('mmdet')
    scenes = SceneConfig(size=(400, 400), kinds={'parking': 1.0}, second='infrared')
    with TemporaryDirectory() as folder:
        write_scenes(folder, 1, scenes, seed=3, workers=1, progress=False)
        prefix = dict(img_path='images', second_img_path='images_second', second_meta_path='meta')
        packed = DOTADataset(
            data_root=folder,
            ann_file='labelTxt',
            data_prefix=prefix,
            metainfo=dict(classes=CLASSES),
            pipeline=PIPELINE,
        )[0]
    sample = packed['data_samples']
    quads = rbox_to_qbox(sample.gt_instances.bboxes.tensor.double()).reshape(-1, 4, 2)
    moved = transform_points(quads, torch.from_numpy(sample.second_from_first))
    first, second = (packed[key].permute(1, 2, 0).contiguous().numpy() for key in ('inputs', 'second_inputs'))
    for image in (first, second):
        outline(image, quads.numpy(), (0, 255, 255))
    outline(second, moved.numpy(), (0, 0, 255))
    cv2.imwrite(str(path), np.hstack([first, second]), [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == '__main__':
    draw(Path(__file__).parent / 'images' / 'pairs.jpg')

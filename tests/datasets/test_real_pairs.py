"""Pairs of real sensors stay together through a training pipeline."""

import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from stn_det.datasets import DOTADataset
from stn_det.models import PairedDetDataPreprocessor

pytestmark = pytest.mark.real_data
GEOMETRY = [
    dict(type='OrientedRandomRotate', prob=1.0),
    dict(type='RandomFlip', prob=1.0, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='RandomQuarterTurn', prob=1.0),
    dict(type='OrientedRandomCrop', crop_size=448, allow_negative_crop=True),
]
LOAD = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadSecondImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
]
END = [dict(type='WarpSecondLikeFirst'), dict(type='PackPairedInputs')]


def shift_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Shift (x, y) in pixels of the second grey image against the first, by phase correlation of their edges."""

    def edges(image):
        grey = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 2)
        return np.log1p(np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)))

    inner = np.s_[96:-96, 96:-96]  # a rotation leaves black corners
    height, width = edges(first)[inner].shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    return np.array(cv2.phaseCorrelate(edges(first)[inner], edges(second)[inner], window)[0])


def grey(image: torch.Tensor) -> np.ndarray:
    return image.float().mean(dim=0).numpy()


@pytest.fixture
def vedai(real_data, tmp_path) -> Path:
    """VEDAI as it comes, both sensors in one folder, with its labels in DOTA's form and at the scale of the images."""
    (tmp_path / 'labels').mkdir()
    for path in sorted((real_data / 'pairs' / 'vedai').iterdir()):
        if path.suffix == '.png':
            (tmp_path / path.name).symlink_to(path)
            continue
        lines = []
        for row in np.loadtxt(path, ndmin=2):
            corners = np.stack([row[6:10], row[10:14]], axis=1) / 2  # given for images of 1024 pixels
            lines.append(' '.join(f'{value:g}' for value in corners.flat) + f' kind-{row[3]:.0f} 0')
        (tmp_path / 'labels' / path.name).write_text('\n'.join(lines))
    return tmp_path


def vedai_pairs(root: Path, *steps: dict) -> DOTADataset:
    return DOTADataset(
        data_root=str(root),
        ann_file='labels/',
        data_prefix=dict(img_path='', second_img_path=''),
        pair_suffixes=('_co', '_ir'),
        metainfo=dict(classes=[f'kind-{label}' for label in (1, 2, 5, 9, 10, 11, 23)]),
        pipeline=[*LOAD, *steps, *END],
    )


def test_vedai_pairs_and_labels(vedai):
    dataset = vedai_pairs(vedai)
    infos = {info['img_id']: info for info in map(dataset.get_data_info, range(len(dataset)))}
    # counted in the files with wc -l
    assert {name: len(info['instances']) for name, info in infos.items()} == {
        '00000000': 1, '00000057': 11, '00000096': 2,
    }  # fmt: skip
    assert all(Path(info['second_img_path']).name == f'{name}_ir.png' for name, info in infos.items())
    packed = dataset[1]
    assert packed['inputs'].shape == packed['second_inputs'].shape == (3, 512, 512)
    assert np.array_equal(packed['second_inputs'][0], cv2.imread(infos['00000057']['second_img_path'])[..., 0])


def test_vedai_stays_registered(vedai):
    # the two files themselves agree within 0.2 pixels by the same measure
    for index in range(3):
        for seed in range(2):
            random.seed(seed)
            packed = vedai_pairs(vedai, *GEOMETRY)[index]
            assert np.abs(shift_between(grey(packed['inputs']), grey(packed['second_inputs']))).max() < 0.5


def test_a_shift_of_vedai_is_seen(vedai):
    dataset = vedai_pairs(vedai, *GEOMETRY, dict(type='JitterSecond', shift=(8, 8), seed=1))
    for index in range(3):
        packed = dataset[index]
        recorded = packed['data_samples'].second_from_first[:2, 2]
        assert np.hypot(*recorded) == pytest.approx(8)
        assert np.abs(shift_between(grey(packed['inputs']), grey(packed['second_inputs'])) - recorded).max() < 0.5


def write_pair(root: Path, first: Path, second: Path) -> dict:
    """Lay two files into a dataset without labels; returns the options of the dataset."""
    for folder, path in (('first', first), ('second', second)):
        (root / folder).mkdir()
        (root / folder / f'a{path.suffix}').symlink_to(path)
    return dict(data_root=str(root), data_prefix=dict(img_path='first', second_img_path='second'))


def test_bands_of_half_the_resolution(real_data, tmp_path):
    options = write_pair(
        tmp_path, real_data / 'pairs' / 'pan_ms' / 'pan1.tif', real_data / 'pairs' / 'pan_ms' / 'ms1.tif'
    )
    load = [
        dict(type='LoadCheckedImage', value_range=(0, 2047), color_type='grayscale'),
        dict(type='LoadSecondImageFromFile', color_type='unchanged'),
    ]
    pack = dict(type='PackPairedInputs', meta_keys=('homography_matrix',))
    packed = DOTADataset(**options, pipeline=[*load, *GEOMETRY, END[0], pack])[0]
    assert packed['inputs'].shape == (1, 448, 448)
    assert packed['second_inputs'].shape == (4, 448, 448)
    assert packed['data_samples'].second_ori_shape == (300, 300)
    # The files are a pixel apart by this measure, and that turns with the image.
    files = DOTADataset(**options, pipeline=[*load, *END])[0]
    apart = shift_between(grey(files['inputs']), grey(files['second_inputs']))
    assert np.abs(apart).max() < 1.5
    turned = packed['data_samples'].homography_matrix[:2, :2] @ apart
    assert np.abs(shift_between(grey(packed['inputs']), grey(packed['second_inputs'])) - turned).max() < 0.3
    first, second = PairedDetDataPreprocessor(second=dict(mean=[300.0] * 4, std=[150.0] * 4))(
        {key: [value] for key, value in packed.items()}
    )['inputs']
    assert first.shape == (1, 1, 448, 448)
    assert second.shape == (1, 4, 448, 448)


def test_radar_with_holes(real_data, tmp_path):
    options = write_pair(tmp_path, real_data / 'pairs' / 'rgb_unmasked.tif', real_data / 'pairs' / 'sar_masked.tif')
    load = [dict(type='LoadCheckedImage'), dict(type='LoadSecondImageFromFile', color_type='unchanged')]
    second = DOTADataset(**options, pipeline=[*load, *GEOMETRY[:3], *END])[0]['second_inputs']
    assert second.shape == (4, 200, 200)
    assert torch.isfinite(second).all()
    assert 0.3 < (second == 0).float().mean() < 0.7, 'holes and corners'

"""Loading of the second image."""

import cv2
import numpy as np
import pytest

from stn_det.datasets.transforms import LoadSecondImageFromFile
from stn_det.errors import ImageError, InputError

RNG = np.random.default_rng(0)


def write(path, image):
    assert cv2.imwrite(str(path), image)
    return dict(img_path='first.png', second_img_path=str(path), height=11, width=12)


def test_it_leaves_the_first_image_alone(tmp_path):
    noise = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    results = LoadSecondImageFromFile()(write(tmp_path / 'a_ir.png', noise) | dict(img=1, img_shape=2, ori_shape=3))
    assert np.array_equal(results['second_img'], noise)
    assert results['second_ori_shape'] == (30, 40), 'of another size than the annotation says of the first'
    assert (results['img'], results['img_shape'], results['ori_shape']) == (1, 2, 3)


@pytest.mark.parametrize(
    ('name', 'image', 'options', 'shape', 'dtype'),
    [
        ('a.png', RNG.integers(0, 256, (8, 9), dtype=np.uint8), dict(color_type='grayscale'), (8, 9), np.uint8),
        ('a.png', RNG.integers(0, 256, (8, 9), dtype=np.uint8), dict(), (8, 9, 3), np.uint8),
        ('a.png', RNG.integers(0, 9999, (8, 9), dtype=np.uint16), dict(color_type='unchanged'), (8, 9), np.uint16),
        ('a.png', RNG.integers(0, 9999, (8, 9), dtype=np.uint16), dict(value_range=(0, 9999)), (8, 9, 3), np.uint8),
        ('a.tif', RNG.random((8, 9, 4)).astype(np.float32), dict(color_type='unchanged'), (8, 9, 4), np.float32),
        ('a.tif', RNG.random((8, 9, 3)).astype(np.float64), dict(value_range=(0, 1)), (8, 9, 3), np.uint8),
        ('a.png', RNG.integers(0, 256, (8, 9), dtype=np.uint8), dict(to_float32=True), (8, 9, 3), np.float32),
    ],
)
def test_channels_and_depths(tmp_path, name, image, options, shape, dtype):
    loaded = LoadSecondImageFromFile(**options)(write(tmp_path / name, image))['second_img']
    assert loaded.shape == shape
    assert loaded.dtype == dtype
    if loaded.shape == image.shape and loaded.dtype == image.dtype:
        assert np.array_equal(loaded, image)


def test_errors(tmp_path):
    with pytest.raises(InputError, match=r'sample of x.png has no second_img_path. Set data_prefix=.*second_img_path'):
        LoadSecondImageFromFile()(dict(img_path='x.png'))
    with pytest.raises(ImageError, match=r'nowhere.png does not exist'):
        LoadSecondImageFromFile()(dict(second_img_path=str(tmp_path / 'nowhere.png')))
    deep = write(tmp_path / 'a.png', np.full((8, 9), 999, np.uint16))
    with pytest.raises(ImageError, match=r"type='LoadSecondImageFromFile', value_range=\(999, 999\)"):
        LoadSecondImageFromFile()(deep)

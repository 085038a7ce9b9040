"""Image loading: what passes, and what each broken file is told."""

import re

import cv2
import numpy as np
import pytest

from stn_det.datasets.transforms import LoadCheckedImage
from stn_det.errors import ConfigError, ImageError

NOISE = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)


def write(path, image):
    cv2.imwrite(str(path), image)
    return dict(img_path=str(path))


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.bmp'])
def test_lossless_formats_come_back_as_they_are(tmp_path, suffix):
    results = LoadCheckedImage()(write(tmp_path / f'a{suffix}', NOISE))
    assert np.array_equal(results['img'], NOISE)
    assert results['img_shape'] == results['ori_shape'] == (60, 90)


def test_grey_images_become_three_channels_and_float_on_request(tmp_path):
    results = LoadCheckedImage(to_float32=True)(write(tmp_path / 'a.png', NOISE[..., 0]))
    assert results['img'].dtype == np.float32
    assert np.array_equal(results['img'], np.repeat(NOISE[..., :1], 3, axis=-1))
    assert LoadCheckedImage(color_type='grayscale')(write(tmp_path / 'a.tif', NOISE[..., 0]))['img'].shape == (60, 90)


def test_missing_file(tmp_path):
    with pytest.raises(ImageError, match=r'image .*no.png does not exist\. Check data_root'):
        LoadCheckedImage()(dict(img_path=str(tmp_path / 'no.png')))
    with pytest.raises(ImageError, match=r'Its folder .*nowhere does not exist either'):
        LoadCheckedImage()(dict(img_path=str(tmp_path / 'nowhere' / 'no.png')))
    with pytest.raises(ImageError, match=r'cannot be read: .*directory'):
        LoadCheckedImage()(dict(img_path=str(tmp_path)))


def test_empty_file(tmp_path):
    (tmp_path / 'a.png').touch()
    with pytest.raises(ImageError, match=r'a.png is empty \(0 bytes\)'):
        LoadCheckedImage()(dict(img_path=str(tmp_path / 'a.png')))


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif', '.bmp'])
def test_file_cut_short(tmp_path, suffix):
    results = write(tmp_path / f'a{suffix}', NOISE)
    content = (tmp_path / f'a{suffix}').read_bytes()[:-500]
    (tmp_path / f'a{suffix}').write_bytes(content)
    with pytest.raises(
        ImageError, match=rf'a{suffix} \({len(content)} bytes\) is cut short: .*Copy or download it again'
    ):
        LoadCheckedImage()(results)


def test_corrupt_file(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'not an image at all')
    with pytest.raises(ImageError, match=r'a.png \(19 bytes\) cannot be decoded'):
        LoadCheckedImage()(dict(img_path=str(tmp_path / 'a.png')))
    results = write(tmp_path / 'b.png', NOISE)
    content = bytearray((tmp_path / 'b.png').read_bytes())
    content[60:400] = bytes(340)
    (tmp_path / 'b.png').write_bytes(content)
    with pytest.raises(ImageError, match=r'b.png .* cannot be decoded'):
        LoadCheckedImage()(results)


def test_size_is_compared_with_the_annotation(tmp_path):
    results = write(tmp_path / 'a.png', NOISE)
    assert LoadCheckedImage()(dict(results, width=90, height=60))['img'].shape == (60, 90, 3)
    with pytest.raises(ImageError, match=r'is 90x60 pixels \(width x height\), its annotation says 100x60'):
        LoadCheckedImage()(dict(results, width=100, height=60))
    with pytest.raises(ImageError, match='They are swapped; the file may carry an EXIF rotation'):
        LoadCheckedImage()(dict(results, width=60, height=90))
    assert LoadCheckedImage(check_size=False)(dict(results, width=100, height=60))['img'].shape == (60, 90, 3)


def test_sixteen_bits(tmp_path):
    ramp = np.tile(np.linspace(100, 1100, 101).astype(np.uint16), (20, 1))
    results = write(tmp_path / 'a.tif', ramp)
    with pytest.raises(
        ImageError, match=re.escape('holds uint16 values from 100 to 1100') + r'.*value_range=\(100, 1100\)'
    ):
        LoadCheckedImage()(results)
    image = LoadCheckedImage(value_range=(100, 1100))(results)['img']
    assert image.shape == (20, 101, 3)
    assert image.dtype == np.uint8
    assert np.abs(image[0, :, 0] - np.linspace(0, 255, 101)).max() <= 0.51
    clipped = LoadCheckedImage(value_range=(600, 1100), color_type='grayscale')(results)['img']
    assert clipped.shape == (20, 101)
    assert (clipped[0, :51] == 0).all()


def test_float_image_with_nan(tmp_path):
    values = np.full((20, 30), 0.5, dtype=np.float32)
    values[0, 0], values[0, 1] = np.nan, np.inf
    image = LoadCheckedImage(value_range=(0, 1))(write(tmp_path / 'a.tif', values))['img']
    assert image[0, :3, 0].tolist() == [0, 255, 128]


def test_fourth_band(tmp_path):
    opaque = np.dstack([NOISE, np.full((60, 90), 255, np.uint8)])
    assert np.array_equal(LoadCheckedImage()(write(tmp_path / 'a.png', opaque))['img'], NOISE)
    near_infrared = np.dstack([NOISE, NOISE[..., 1]])
    results = write(tmp_path / 'b.png', near_infrared)
    with pytest.raises(ImageError, match=r"b.png has 4 bands, expected 1 or 3.*extra_bands='drop'"):
        LoadCheckedImage()(results)
    assert np.array_equal(LoadCheckedImage(extra_bands='drop')(results)['img'], NOISE)
    assert LoadCheckedImage(color_type='unchanged')(results)['img'].shape == (60, 90, 4)


@pytest.mark.parametrize(
    ('options', 'match'),
    [(dict(value_range=(5, 5)), 'low < high'), (dict(extra_bands='keep'), "extra_bands is 'keep'")],
)
def test_bad_options(options, match):
    with pytest.raises(ConfigError, match=match):
        LoadCheckedImage(**options)

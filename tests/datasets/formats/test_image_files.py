"""Finding images, sizes from headers, files cut short."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from stn_det.datasets.formats import image_size, index_images, is_plain, truncation_problem
from stn_det.errors import DatasetError, ImageError

NOISE = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)


def encode(suffix):
    return cv2.imencode(suffix, NOISE)[1].tobytes()


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif', '.bmp'])
def test_size_and_truncation_of_each_format(tmp_path, suffix):
    content = encode(suffix)
    path = tmp_path / f'a{suffix}'
    path.write_bytes(content)
    assert image_size(str(path)) == (90, 60)
    assert truncation_problem(content) is None
    for part in (0.3, 0.6, 0.99):
        assert truncation_problem(content[: int(part * len(content))]) is not None


def test_jpeg_thumbnail_does_not_hide_truncation():
    exif = Image.Exif()
    stream = io.BytesIO()
    Image.fromarray(NOISE).save(stream, 'jpeg', exif=exif.tobytes() or b'Exif\0\0' + b'\xff\xd9' * 4)
    content = stream.getvalue()
    marked = content[:2] + b'\xff\xe1\x00\x08ab\xff\xd9\x00\x00' + content[2:]
    assert truncation_problem(marked) is None
    assert truncation_problem(marked[:-200]) == 'the end-of-image marker is missing'


def test_other_content_is_not_judged():
    assert truncation_problem(b'GIF89a') is None


def test_size_follows_the_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / 'turned.jpg'
    Image.fromarray(NOISE).save(path, exif=exif)
    assert image_size(str(path)) == (60, 90)
    assert cv2.imread(str(path)).shape[:2] == (90, 60)


def test_size_of_a_huge_image_is_read(tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    path.write_bytes(encode('.png'))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
    assert image_size(str(path)) == (90, 60)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_unreadable_images(tmp_path):
    with pytest.raises(ImageError, match=r'nowhere.png does not exist'):
        image_size(str(tmp_path / 'nowhere.png'))
    (tmp_path / 'text.png').write_bytes(b'hello')
    with pytest.raises(ImageError, match=r'text.png \(5 bytes\) has no readable header.*Expected PNG, JPEG'):
        image_size(str(tmp_path / 'text.png'))


def test_index_by_stem(tmp_path):
    for name in ('b.PNG', 'a.jpg', 'c.tiff', 'notes.txt'):
        (tmp_path / name).touch()
    assert list(index_images(str(tmp_path))) == ['a', 'b', 'c']
    assert list(index_images(str(tmp_path), 'png')) == ['b']
    (tmp_path / 'a.png').touch()
    with pytest.raises(DatasetError, match=r"a.jpg and .*a.png both match the label name 'a'.*img_suffix"):
        index_images(str(tmp_path))
    with pytest.raises(DatasetError, match=r'image folder .*nowhere does not exist.*data_prefix'):
        index_images(str(tmp_path / 'nowhere'))


def test_plain_images_are_known_by_their_header():
    assert is_plain(encode('.jpg'))
    assert is_plain(encode('.png'))
    assert not is_plain(encode('.tif'))
    assert not is_plain(cv2.imencode('.png', NOISE.astype(np.uint16))[1].tobytes())
    assert not is_plain(cv2.imencode('.png', np.dstack([NOISE, NOISE[..., 0]]))[1].tobytes())

"""Small copies of images."""

import pytest
import torch

from stn_det.models.stn.thumbnail import make_thumbnail

torch.manual_seed(0)


@pytest.mark.parametrize('size', [(320, 320), (301, 223), (97, 400)])
def test_what_is_in_the_image_lies_where_the_map_says(size):
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing='ij')
    center = torch.tensor([0.4 * size[1], 0.55 * size[0]], dtype=torch.float64)
    blob = (-((x - center[0]) ** 2 + (y - center[1]) ** 2) / 200).exp()
    small, warp = make_thumbnail(blob.double()[None, None], 64)
    assert max(small.shape[2:]) == 64
    assert warp.src_size == size
    assert warp.dst_size == tuple(small.shape[2:])
    weights = small[0, 0] / small.sum()
    v, u = torch.meshgrid(*(torch.arange(n) + 0.5 for n in small.shape[2:]), indexing='ij')
    found = torch.stack([(weights * u).sum(), (weights * v).sum()])
    assert torch.allclose(found, warp.transform_points(center.view(1, 1, 2)).view(2), atol=1e-3)


def test_fine_stripes_are_averaged():
    stripes = (torch.arange(512) % 2).float().expand(1, 1, 512, 512)
    small, _ = make_thumbnail(stripes, 64)
    assert small[..., 2:-2, 2:-2].sub(0.5).abs().max() < 1e-3


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype):
    images = torch.rand(2, 3, 90, 160).to(dtype)
    small, _ = make_thumbnail(images, 32)
    assert small.shape == (2, 3, 18, 32)
    assert small.dtype == dtype
    assert torch.allclose(small.float(), make_thumbnail(images.float(), 32)[0], atol=1e-2)


def test_small_images_are_left_alone():
    images = torch.rand(1, 3, 20, 30)
    small, warp = make_thumbnail(images, 30)
    assert small is images
    assert torch.equal(warp.dst_from_src[0], torch.eye(3, dtype=torch.float64))


def test_a_narrow_image_keeps_a_pixel():
    assert make_thumbnail(torch.rand(1, 1, 2, 1000), 64)[0].shape == (1, 1, 1, 64)

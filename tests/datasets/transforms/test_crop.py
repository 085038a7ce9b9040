"""Random crop by visible fraction."""

import random

import numpy as np
import pytest
import torch
from mmcv.transforms.utils import cache_random_params

from stn_det.datasets.transforms import OrientedRandomCrop
from stn_det.errors import ConfigError
from stn_det.structures import RotatedBoxes


def sample_of(rboxes, size=(200, 200), flags=None):
    count = len(rboxes)
    return dict(
        img=np.zeros((size[1], size[0], 3), np.uint8),
        gt_bboxes=RotatedBoxes(torch.tensor(rboxes, dtype=torch.float32).reshape(-1, 5)),
        gt_bboxes_labels=np.arange(count),
        gt_ignore_flags=np.array(flags if flags is not None else [False] * count, dtype=bool),
    )


@pytest.mark.parametrize('box_type', ['rbox', 'qbox'])
@pytest.mark.parametrize('seed', range(4))
def test_image_and_boxes_agree(make_sample, rendered, box_type, seed):
    random.seed(seed)
    results = OrientedRandomCrop((84, 64))(make_sample(box_type, size=(120, 90)))
    assert results['img'].shape == (64, 84, 3)
    assert results['img_shape'] == (64, 84)
    shift = -results['homography_matrix'][:2, 2]
    original = make_sample(box_type)
    x, y = shift.astype(int)
    assert np.array_equal(results['img'], original['img'][y : y + 64, x : x + 84])
    back = results['gt_bboxes'].clone()
    back.translate_(shift.tolist())
    # Boxes wholly in view can be measured; the others must at least be where they were.
    kept = original['gt_bboxes'].tensor[torch.as_tensor(results['gt_bboxes_labels'])]
    assert torch.allclose(back.tensor, kept, atol=1e-3)
    if len(kept) == 3 and results['gt_bboxes'].is_inside((64, 84), all_inside=True).all():
        assert rendered.farthest_corner(results['gt_bboxes'], results['img']) < 0.1


def cut_at(results, x, y, **kwargs):
    """Crop 100 x 100 with its corner at (x, y) of a 200 x 200 image."""
    crop = OrientedRandomCrop(100, allow_negative_crop=True, **kwargs)
    crop._draw_positions = lambda: [(x / 101, y / 101, 0.0)] * 9
    return crop(results)


def test_visible_fraction_decides():
    # Axis-parallel bars of length 20 that show 100, 75, 50, 25, 5 and 0 % in x < 100.
    bars = [[x, 50, 20, 4, 0.0] for x in (50, 95, 100, 105, 109, 130)]
    results = cut_at(sample_of(bars), 0, 0)
    assert results['gt_bboxes_labels'].tolist() == [0, 1, 2, 3]
    assert results['gt_ignore_flags'].tolist() == [False, False, False, True]
    # A slanted bar whose upright extent is mostly inside while its area is not.
    results = cut_at(sample_of([[104, 50, 40, 4, np.pi / 4]]), 0, 0, min_visibility=0.5, ignore_visibility=0.3)
    assert results['gt_ignore_flags'].tolist() == [True]


def test_boxes_are_moved_not_clipped():
    results = cut_at(sample_of([[100, 60, 20, 8, 0.3]]), 50, 30)
    assert torch.allclose(results['gt_bboxes'].tensor, torch.tensor([[50, 30, 20, 8, 0.3]]), atol=1e-4)
    results = cut_at(sample_of([[98, 60, 20, 8, 0.3]]), 0, 0)
    assert torch.allclose(results['gt_bboxes'].tensor, torch.tensor([[98, 60, 20, 8, 0.3]]), atol=1e-4)


def test_zero_area_regions_go():
    results = cut_at(sample_of([[50, 50, 20, 0, 0.3], [50, 50, 20, 8, 0]], flags=[True, False]), 0, 0)
    assert results['gt_bboxes_labels'].tolist() == [1]


def test_a_lonely_object_in_a_large_image_is_always_found():
    crop = OrientedRandomCrop(64, num_tries=1)
    for _ in range(40):
        results = crop(sample_of([[1500, 30, 30, 10, 0.7]], size=(2000, 1600)))
        assert results['img_shape'] == (64, 64)
        assert results['gt_ignore_flags'].tolist() == [False]


def test_no_positive():
    regions = sample_of([[50, 50, 20, 8, 0]], flags=[True])
    assert OrientedRandomCrop(100)(regions) is None
    assert OrientedRandomCrop(100)(sample_of([])) is None
    assert OrientedRandomCrop(100, allow_negative_crop=True)(sample_of([]))['img_shape'] == (100, 100)
    assert OrientedRandomCrop(10)(sample_of([[100, 100, 150, 120, 0.3]])) is None  # never half visible


def test_small_images_are_cut_where_they_can_be():
    results = OrientedRandomCrop((300, 50))(sample_of([[100, 100, 20, 8, 0]], size=(200, 200)))
    assert results['img_shape'] == (50, 200)
    assert results['homography_matrix'][0, 2] == 0


def test_images_without_boxes_are_cut_too():
    assert OrientedRandomCrop(50)(dict(img=np.zeros((100, 100, 3), np.uint8)))['img_shape'] == (50, 50)


def test_windows_cover_the_image_and_randomness_can_be_shared():
    crop = OrientedRandomCrop(60, allow_negative_crop=True)
    offsets = np.array([-crop(sample_of([], size=(64, 64)))['homography_matrix'][:2, 2] for _ in range(120)])
    assert set(offsets.flatten()) == {0, 1, 2, 3, 4}
    with cache_random_params(crop):
        same = [crop(sample_of([]))['homography_matrix'] for _ in range(3)]
    assert np.array_equal(same[0], same[1])
    assert np.array_equal(same[0], same[2])


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (dict(crop_size=0), 'crop_size is 0, expected pixels above 0'),
        (dict(crop_size=(10, 2.5)), r'crop_size is \(10, 2.5\)'),
        (dict(crop_size=10, num_tries=0), 'num_tries is 0'),
        (dict(crop_size=10, min_visibility=1.2), 'min_visibility 1.2'),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(ConfigError, match=match):
        OrientedRandomCrop(**options)

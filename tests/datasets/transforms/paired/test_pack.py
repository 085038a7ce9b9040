"""What reaches the data loader."""

import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import RandomFlip
from mmengine.dataset import pseudo_collate

from stn_det.datasets.transforms import PackPairedInputs, WarpSecondLikeFirst
from stn_det.errors import InputError


def test_both_images_and_the_labels(make_pair):
    packed = PackPairedInputs()(WarpSecondLikeFirst()(make_pair((60, 45))))
    assert packed['inputs'].shape == packed['second_inputs'].shape == (3, 90, 120)
    sample = packed['data_samples']
    assert len(sample.gt_instances) == 2
    assert len(sample.ignored_instances) == 1
    assert sample.second_ori_shape == (45, 60)
    assert sample.second_img_path == 'a_ir.png'
    assert np.allclose(sample.second_from_first, np.eye(3))
    assert sample.second_from_first.dtype == np.float64
    batch = pseudo_collate([packed, packed])
    assert len(batch['inputs']) == len(batch['second_inputs']) == 2


def test_meta_keys_come_on_top(make_pair):
    pair = WarpSecondLikeFirst()(make_pair())
    sample = PackPairedInputs(meta_keys=('img_id', 'second_from_first'))(pair)['data_samples']
    assert set(sample.metainfo_keys()) == {'img_id', 'second_img_path', 'second_ori_shape', 'second_from_first'}


@pytest.mark.parametrize(
    ('image', 'shape', 'dtype'),
    [
        (np.full((90, 120), 7, np.uint8), (1, 90, 120), torch.uint8),
        (np.full((90, 120, 5), 60000, np.uint16), (5, 90, 120), torch.float32),
        (np.full((90, 120, 2), -3.5, np.float64), (2, 90, 120), torch.float32),
    ],
)
def test_channels_and_depths(make_pair, image, shape, dtype):
    packed = PackPairedInputs()(WarpSecondLikeFirst()(make_pair() | dict(second_img=image)))['second_inputs']
    assert packed.shape == shape
    assert packed.dtype == dtype
    assert (packed == float(image.flat[0])).all()


def test_no_labels(make_pair):
    pair = make_pair()
    for key in ('gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags'):
        del pair[key]
    packed = PackPairedInputs()(WarpSecondLikeFirst()(pair))
    assert len(packed['data_samples'].gt_instances) == 0


def test_a_second_image_that_does_not_fit_is_refused(make_pair):
    with pytest.raises(InputError, match=r'was not warped. Put WarpSecondLikeFirst before it'):
        PackPairedInputs()(make_pair())
    with pytest.raises(InputError, match=r'moved after the second, 120x90. Put WarpSecondLikeFirst after all'):
        PackPairedInputs()(RandomFlip(prob=1.0)(WarpSecondLikeFirst()(make_pair())))
    pair = WarpSecondLikeFirst()(make_pair())
    pair['img'] = pair['img'][:50]
    with pytest.raises(InputError, match=r'first image, now 120x50 pixels \(width x height\)'):
        PackPairedInputs()(pair)
    del pair['second_img']
    with pytest.raises(InputError, match='no second image'):
        PackPairedInputs()(pair)

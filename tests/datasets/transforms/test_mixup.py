"""Two images laid over each other."""

import numpy as np
import pytest
import torch
from mmcv.transforms.utils import cache_random_params
from mmdet.datasets import MultiImageMixDataset

from stn_det.datasets import DOTADataset
from stn_det.datasets.transforms import OrientedMixUp
from stn_det.errors import ConfigError, InputError


def mix(first, second, **kwargs):
    return OrientedMixUp(**kwargs)(dict(first, mix_results=[second]))


def test_pixels_and_objects_of_both(make_sample):
    first, second = make_sample(), make_sample()
    first['img'][:], second['img'][:] = 200, 41
    first['homography_matrix'] = np.eye(3)
    second['gt_bboxes'].translate_((5, -3))
    second['gt_bboxes_labels'] = np.array([7, 8, 9])
    before = second['gt_bboxes'].tensor.clone()
    results = mix(first, second, ratio_range=(0.6, 0.6))
    assert results['img'].dtype == np.uint8
    assert np.unique(results['img']).tolist() == [136]  # 0.6 * 200 + 0.4 * 41 = 136.4
    assert torch.equal(results['gt_bboxes'].tensor, torch.cat([make_sample()['gt_bboxes'].tensor, before]))
    assert results['gt_bboxes_labels'].tolist() == [0, 1, 2, 7, 8, 9]
    assert results['gt_ignore_flags'].tolist() == [False, False, True] * 2
    assert results['gt_instances_ids'].tolist() == [10, 11, 12] * 2
    assert 'homography_matrix' not in results
    assert len(second['gt_bboxes']) == 3


def test_pixels_are_rounded_not_cut(make_sample):
    first, second = make_sample(), make_sample()
    first['img'][:], second['img'][:] = 10, 11
    assert np.unique(mix(first, second, ratio_range=(0.3, 0.3))['img']).tolist() == [11]  # 10.7


def test_entries_that_one_sample_lacks_go(make_sample):
    first, second = make_sample(), make_sample()
    del second['gt_instances_ids'], second['gt_ignore_flags']
    results = mix(first, second)
    assert 'gt_instances_ids' not in results
    assert results['gt_ignore_flags'].tolist() == [False, False, True, False, False, False]


def test_an_image_without_objects(make_sample):
    first, second = make_sample(), make_sample()
    for key in ('gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags', 'gt_instances_ids'):
        first[key] = first[key][:0]
    results = mix(first, second)
    assert results['gt_bboxes_labels'].tolist() == [0, 1, 2]
    assert torch.equal(results['gt_bboxes'].tensor, second['gt_bboxes'].tensor)


def test_draws(make_sample):
    transform = OrientedMixUp(ratio_range=(0.2, 0.4), prob=0.3)
    counts = [len(transform.get_indexes(range(5))) for _ in range(400)]
    assert set(counts) == {0, 1}
    assert 85 < sum(counts) < 155
    ratios = [transform._draw_ratio() for _ in range(200)]
    assert 0.2 <= min(ratios) < 0.22 < 0.38 < max(ratios) <= 0.4
    with cache_random_params(transform):
        images = [transform(dict(make_sample(), mix_results=[make_sample()]))['img'] for _ in range(3)]
    assert all(np.array_equal(image, images[0]) for image in images)


def test_a_sample_that_is_not_mixed_passes(make_sample):
    results = OrientedMixUp()(dict(make_sample(), mix_results=[]))
    assert np.array_equal(results['img'], make_sample()['img'])
    assert len(results['gt_bboxes']) == 3


@pytest.mark.parametrize(('prob', 'objects'), [(0.0, 1), (1.0, 2)])
def test_in_a_mix_dataset(make_dota, prob, objects):
    root = make_dota(dict.fromkeys('ab', '10 20 50 20 50 40 10 40 plane 0\n'))
    loads = []
    loading = [
        dict(type='LoadCheckedImage'),
        dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
        dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
        lambda results: loads.append(1) or results,
    ]
    dataset = DOTADataset(
        data_root=str(root),
        ann_file='labelTxt',
        data_prefix=dict(img_path='images'),
        pipeline=loading,
        serialize_data=False,
    )
    sample = MultiImageMixDataset(
        dataset, pipeline=[dict(type='OrientedMixUp', prob=prob), dict(type='PackDetInputs')]
    )[0]
    assert len(loads) == len(sample['data_samples'].gt_instances) == objects
    assert sample['inputs'].shape == (3, 80, 100)


def test_errors(make_sample):
    with pytest.raises(InputError, match=r'has 0 further images in mix_results, expected 1.*MultiImageMixDataset'):
        OrientedMixUp()(make_sample())
    with pytest.raises(InputError, match='has 2 further images'):
        OrientedMixUp()(dict(make_sample(), mix_results=[make_sample(), make_sample()]))
    with pytest.raises(InputError, match=r'shapes \(90, 120, 3\) and \(90, 100, 3\), expected one'):
        mix(make_sample(), make_sample(size=(100, 90)))
    with pytest.raises(InputError, match=r"OrientedMixUp: the samples differ in box type \(\['qbox', 'rbox'\]\)"):
        mix(make_sample(), make_sample('qbox'))
    with pytest.raises(InputError, match='the sample has no image'):
        mix(make_sample(), dict())
    with pytest.raises(ConfigError, match=r'second sensor, which cannot follow 2 images. Leave OrientedMixUp out'):
        mix(make_sample() | dict(second_img=np.zeros((2, 2))), make_sample())
    for ratios in ((0, 0.5), (0.6, 0.5), (0.5, 1)):
        with pytest.raises(ConfigError, match=r'ratio_range is .*, expected 0 < low <= high < 1'):
            OrientedMixUp(ratio_range=ratios)
    with pytest.raises(ConfigError, match='prob is -1'):
        OrientedMixUp(prob=-1)

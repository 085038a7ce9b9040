"""Mosaic of four images."""

import numpy as np
import pytest
import torch
from mmdet.datasets import MultiImageMixDataset
from mmdet.structures.bbox import get_box_type

from stn_det.datasets import DOTADataset
from stn_det.datasets.transforms import OrientedMosaic
from stn_det.errors import ConfigError, InputError


def mosaic_of(samples, **kwargs):
    results = samples[0]
    results['mix_results'] = samples[1:]
    return OrientedMosaic(**kwargs)(results)


@pytest.mark.parametrize('box_type', ['rbox', 'qbox'])
@pytest.mark.parametrize('turns', [0, 1, 2, 3])
@pytest.mark.parametrize('quadrant', range(4))
def test_image_and_boxes_agree_in_each_quadrant(make_sample, rendered, box_type, turns, quadrant):
    """Only one of the four images holds anything, so its rectangles can be measured on the canvas."""
    samples = [make_sample(box_type) for _ in range(4)]
    for index, sample in enumerate(samples):
        if index != quadrant:
            sample['img'][:] = 0
            sample['gt_bboxes'] = sample['gt_bboxes'][:0]
            for key in ('gt_bboxes_labels', 'gt_ignore_flags', 'gt_instances_ids'):
                sample[key] = sample[key][:0]
    results = samples[0]
    results['mix_results'] = samples[1:]
    transform = OrientedMosaic(img_scale=(160, 140), pad_val=0)
    transform._draw_layout = lambda: ((165, 138), [turns] * 4)
    results = transform(results)
    assert results['img'].shape == (280, 320, 3)
    assert results['img_shape'] == (280, 320)
    assert results['gt_bboxes_labels'].tolist() == [0, 1, 2]
    assert results['gt_ignore_flags'].tolist() == [False, False, True]
    assert results['gt_instances_ids'].tolist() == [10, 11, 12]
    assert rendered.farthest_corner(results['gt_bboxes'], results['img']) < 0.7
    centres = results['gt_bboxes'].centers
    assert ((centres[:, 0] > 165) == (quadrant in (1, 3))).all()
    assert ((centres[:, 1] > 138) == (quadrant in (2, 3))).all()


def full_box_sample(box, value=50):
    return dict(
        img=np.full((100, 100, 3), value, np.uint8),
        gt_bboxes=get_box_type('rbox')[1](torch.tensor([box], dtype=torch.float32)),
        gt_bboxes_labels=np.array([value]),
        gt_ignore_flags=np.array([False]),
    )


def test_boxes_cut_by_the_canvas_are_judged_by_what_is_left():
    # The corner lies 60 from the left, so the left images lose their first 40 columns, the right ones their last 60.
    boxes = [[44, 50, 20, 4, 0], [20, 50, 20, 4, 0], [38, 50, 20, 4, 0], [101 - 61, 50, 20, 4, 0]]
    samples = [full_box_sample(box, value) for box, value in zip(boxes, (10, 20, 30, 40))]
    results = samples[0]
    results['mix_results'] = samples[1:]
    transform = OrientedMosaic(img_scale=(100, 100), quarter_turns=False)
    transform._draw_layout = lambda: ((60, 100), [0] * 4)
    results = transform(results)
    assert results['gt_bboxes_labels'].tolist() == [10, 20, 30, 40]
    assert results['gt_ignore_flags'].tolist() == [False, False, True, False]
    assert torch.allclose(results['gt_bboxes'].centers[0], torch.tensor([4.0, 50.0]))
    assert results['img'][0, [0, 59, 60, 159, 160], 0].tolist() == [10, 10, 20, 20, 114]


def test_inputs_stay_untouched_and_a_stale_matrix_goes(make_sample):
    samples = [make_sample() for _ in range(4)]
    samples[0]['homography_matrix'] = np.eye(3)
    before = samples[1]['gt_bboxes'].tensor.clone()
    results = mosaic_of(samples, img_scale=(60, 60))
    assert torch.equal(samples[1]['gt_bboxes'].tensor, before)
    assert 'homography_matrix' not in results


def test_a_sample_without_a_mosaic_passes(make_sample):
    results = OrientedMosaic()(dict(make_sample(), mix_results=[]))
    assert np.array_equal(results['img'], make_sample()['img'])
    assert torch.equal(results['gt_bboxes'].tensor, make_sample()['gt_bboxes'].tensor)


def test_probability_is_drawn_before_other_images_are_loaded():
    transform = OrientedMosaic(prob=0.25)
    counts = [len(transform.get_indexes(range(7))) for _ in range(400)]
    assert set(counts) == {0, 3}
    assert 70 < counts.count(3) < 130
    always = OrientedMosaic()
    assert {index for _ in range(50) for index in always.get_indexes(range(7))} == set(range(7))


def test_layout_range_and_turns():
    transform = OrientedMosaic(img_scale=(100, 50), center_ratio_range=(0.5, 1.5))
    corners, turns = zip(*(transform._draw_layout() for _ in range(200)))
    x, y = np.array(corners).T
    assert 50 <= x.min() < 60
    assert 140 < x.max() <= 150
    assert 25 <= y.min() < 30
    assert 70 < y.max() <= 75
    assert {t for four in turns for t in four} == {0, 1, 2, 3}
    assert any(len(set(four)) > 1 for four in turns)


LOADING = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
]


@pytest.fixture
def plane_dataset(make_dota):
    root = make_dota(dict.fromkeys('abcde', '10 20 50 20 50 40 10 40 plane 0\n'))
    return DOTADataset(
        data_root=str(root),
        ann_file='labelTxt',
        data_prefix=dict(img_path='images'),
        pipeline=LOADING,
        serialize_data=False,
    )


def test_in_a_mix_dataset(plane_dataset):
    mixed = MultiImageMixDataset(
        plane_dataset,
        pipeline=[
            dict(type='OrientedMosaic', img_scale=(100, 80)),
            dict(type='OrientedRandomCrop', crop_size=(100, 80)),
            dict(type='PackDetInputs'),
        ],
    )
    counts = []
    for index in range(20):
        sample = mixed[index % 5]
        assert sample['inputs'].shape == (3, 80, 100)
        counts.append(len(sample['data_samples'].gt_instances))
    assert min(counts) >= 1
    assert max(counts) >= 2


@pytest.mark.parametrize(('prob', 'loaded'), [(0.0, 1), (1.0, 4)])
def test_images_that_a_mix_dataset_loads(plane_dataset, prob, loaded):
    loads = []
    plane_dataset.pipeline.transforms.append(lambda results: loads.append(1) or results)
    pipeline = [dict(type='OrientedMosaic', img_scale=(50, 40), prob=prob), dict(type='PackDetInputs')]
    sample = MultiImageMixDataset(plane_dataset, pipeline=pipeline)[0]
    assert len(loads) == loaded
    assert sample['inputs'].shape == (3, 80, 100)


def test_errors(make_sample):
    with pytest.raises(InputError, match=r'has 0 further images in mix_results, expected 3.*MultiImageMixDataset'):
        OrientedMosaic()(make_sample())
    with pytest.raises(InputError, match=r"differ in box type \(\['qbox', 'rbox'\]\)"):
        mosaic_of([make_sample(), make_sample(), make_sample('qbox'), make_sample()])
    grey = [make_sample() for _ in range(4)]
    grey[2]['img'] = grey[2]['img'][..., 0]
    with pytest.raises(InputError, match='or in channels and dtype'):
        mosaic_of(grey)


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (dict(img_scale=(0, 10)), r'img_scale is \(0, 10\)'),
        (dict(center_ratio_range=(0, 1)), r'center_ratio_range is \(0, 1\)'),
        (dict(prob=2), 'prob is 2'),
        (dict(ignore_visibility=0.9), 'ignore_visibility is 0.9'),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(ConfigError, match=match):
        OrientedMosaic(**options)

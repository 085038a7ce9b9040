"""mmdet's own geometric transforms on our boxes, judged by what the moved image shows."""

import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import Pad, PhotoMetricDistortion, RandomFlip, Resize
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose

BOX_TYPES = ('rbox', 'qbox')


@pytest.mark.parametrize('box_type', BOX_TYPES)
def test_the_oracle_sees_the_rendered_boxes(make_sample, rendered, box_type):
    results = make_sample(box_type)
    assert rendered.farthest_corner(results['gt_bboxes'], results['img']) < 0.1
    results['gt_bboxes'].translate_((1.0, 0.0))
    assert rendered.farthest_corner(results['gt_bboxes'], results['img']) > 0.9


@pytest.mark.parametrize('box_type', BOX_TYPES)
@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_random_flip(make_sample, rendered, box_type, direction):
    results = RandomFlip(prob=1.0, direction=direction)(make_sample(box_type))
    assert results['flip']
    assert rendered.farthest_corner(results['gt_bboxes'], results['img']) < 0.1


@pytest.mark.parametrize('box_type', BOX_TYPES)
@pytest.mark.parametrize(('scale', 'keep_ratio'), [((240, 180), True), ((77, 200), True), ((300, 150), True)])
def test_resize(make_sample, rendered, box_type, scale, keep_ratio):
    results = Resize(scale=scale, keep_ratio=keep_ratio)(make_sample(box_type))
    assert rendered.farthest_corner(results['gt_bboxes'], results['img']) < 0.7


def test_resize_without_ratio_shears_quadrilaterals_with_the_image(make_sample, rendered):
    results = Resize(scale=(240, 90), keep_ratio=False)(make_sample('qbox'))
    centres = results['gt_bboxes'].centers.numpy()
    assert np.abs(centres - rendered.measure(results['img']).mean(axis=1)).max() < 0.2
    area = (results['img'] / 255.0).sum(axis=(0, 1))
    assert np.allclose(results['gt_bboxes'].areas.numpy(), area, rtol=0.02)


def test_pad_leaves_boxes_where_they_are(make_sample, rendered):
    results = Pad(size=(160, 160))(make_sample())
    assert results['img'].shape == (160, 160, 3)
    assert rendered.farthest_corner(results['gt_bboxes'], results['img']) < 0.1


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_photometric_distortion_takes_bytes_and_floats(make_sample, dtype, seed):
    np.random.seed(seed)  # noqa: NPY002
    results = make_sample()
    results['img'] = results['img'].astype(dtype)
    boxes = results['gt_bboxes'].tensor.clone()
    results = PhotoMetricDistortion()(results)
    assert results['img'].dtype == np.float32
    assert np.isfinite(results['img']).all()
    assert torch.equal(results['gt_bboxes'].tensor, boxes)


@pytest.mark.parametrize('box_type', BOX_TYPES)
@pytest.mark.parametrize('seed', range(4))
def test_chain_of_everything(make_sample, rendered, box_type, seed):
    import random

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    chain = Compose(
        [
            TRANSFORMS.build(cfg)
            for cfg in (
                dict(type='OrientedRandomCrop', crop_size=(110, 84), allow_negative_crop=False),
                dict(type='RandomQuarterTurn', prob=1.0),
                dict(type='Resize', scale=(170, 170), keep_ratio=True),
                dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
                dict(type='OrientedRandomRotate', prob=1.0, canvas='grow'),
                dict(type='Pad', size=(280, 280)),
                dict(type='FilterOrientedBoxes', min_size=2),
            )
        ]
    )
    original = make_sample(box_type)
    corners = original['gt_bboxes'].convert_to('qbox').tensor.double().reshape(-1, 4, 2).numpy()
    results = chain(original)
    assert len(results['gt_bboxes']) == 3
    assert rendered.farthest_corner(results['gt_bboxes'], results['img']) < 0.8
    # The recorded matrix says the same as the boxes.
    matrix = results['homography_matrix'].astype(np.float64)
    moved = corners @ matrix[:2, :2].T + matrix[:2, 2]
    now = results['gt_bboxes'].convert_to('qbox').tensor.double().reshape(-1, 4, 2).numpy()
    assert np.linalg.norm(moved[:, :, None] - now[:, None], axis=-1).min(axis=2).max() < 0.3

"""Removal of small boxes."""

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import get_box_type

from stn_det.datasets.transforms import FilterOrientedBoxes
from stn_det.errors import ConfigError


def sample(box_type='rbox', sides=((20, 10), (20, 1), (1, 30), (3, 2))):
    rboxes = torch.tensor([[50, 50, w, h, 0.7] for w, h in sides], dtype=torch.float32)
    count = len(sides)
    return dict(
        img=np.zeros((100, 100, 3), np.uint8),
        gt_bboxes=get_box_type('rbox')[1](rboxes).convert_to(box_type),
        gt_bboxes_labels=np.arange(count),
        gt_ignore_flags=np.zeros(count, dtype=bool),
    )


@pytest.mark.parametrize('box_type', ['rbox', 'qbox'])
def test_shorter_side_decides(box_type):
    results = FilterOrientedBoxes(min_size=1.9)(sample(box_type))
    assert results['gt_bboxes_labels'].tolist() == [0, 3]
    assert len(results['gt_bboxes']) == len(results['gt_ignore_flags']) == 2


def test_small_boxes_can_be_ignored_instead():
    results = FilterOrientedBoxes(min_size=2, action='ignore')(sample())
    assert results['gt_ignore_flags'].tolist() == [False, True, True, False]
    assert len(results['gt_bboxes']) == 4


def test_small_regions_to_ignore_stay():
    results = sample()
    results['gt_ignore_flags'][1] = True
    results = FilterOrientedBoxes(min_size=2)(results)
    assert results['gt_bboxes_labels'].tolist() == [0, 1, 3]
    assert results['gt_ignore_flags'].tolist() == [False, True, False]


def test_non_finite_boxes_always_go():
    results = sample()
    results['gt_bboxes'].tensor[0, 4] = float('nan')
    results['gt_bboxes'].tensor[3, 0] = float('inf')
    assert FilterOrientedBoxes(min_size=0)(results)['gt_bboxes_labels'].tolist() == [1, 2]


def test_empty_samples():
    assert FilterOrientedBoxes(min_size=50, keep_empty=False)(sample()) is None
    assert len(FilterOrientedBoxes(min_size=50)(sample())['gt_bboxes']) == 0
    assert FilterOrientedBoxes(keep_empty=False)(dict(img=np.zeros((9, 9, 3)))) is not None


def test_bad_options():
    with pytest.raises(ConfigError, match='min_size is -1'):
        FilterOrientedBoxes(min_size=-1)
    with pytest.raises(ConfigError, match="action is 'hide'"):
        FilterOrientedBoxes(action='hide')

"""Selection of instances and the visible fraction."""

import math

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes

from stn_det.datasets.transforms.common import (
    apply_visibility,
    check_visibility,
    instance_keys,
    keep_instances,
    record_homography,
    visible_fraction,
)
from stn_det.errors import ConfigError
from stn_det.structures import QuadriBoxes, RotatedBoxes


def test_every_instance_entry_is_kept_in_step():
    results = dict(
        gt_bboxes=RotatedBoxes(torch.arange(15.0).reshape(3, 5)),
        gt_bboxes_labels=np.array([0, 1, 2]),
        gt_tokens=['a', 'b', 'c'],
        gt_weights=torch.tensor([0.1, 0.2, 0.3]),
        gt_seg_map=np.zeros((3, 4)),
        gt_count=3,
        img=np.zeros((3, 3, 3)),
    )
    assert instance_keys(results) == ['gt_bboxes', 'gt_bboxes_labels', 'gt_tokens', 'gt_weights']
    keep_instances(results, torch.tensor([True, False, True]))
    assert results['gt_bboxes'].tensor[:, 0].tolist() == [0, 10]
    assert results['gt_bboxes_labels'].tolist() == [0, 2]
    assert results['gt_tokens'] == ['a', 'c']
    assert results['gt_weights'].tolist() == pytest.approx([0.1, 0.3])
    assert len(results['gt_seg_map']) == 3


def test_keeping_none_leaves_empty_entries_of_the_right_kind():
    results = dict(gt_bboxes=QuadriBoxes(torch.zeros(2, 8)), gt_bboxes_labels=np.array([0, 1]))
    keep_instances(results, torch.tensor([False, False]))
    assert results['gt_bboxes'].tensor.shape == (0, 8)
    assert results['gt_bboxes_labels'].shape == (0,)
    assert results['gt_bboxes_labels'].dtype == np.int64


def test_visible_fraction_of_a_diamond():
    """A square of diagonal 20, turned by 45 degrees, shows half at its middle and an eighth at a quarter of it."""
    side = 20 / math.sqrt(2)
    boxes = RotatedBoxes(torch.tensor([[50.0, 50.0, side, side, math.pi / 4]]))
    for window, expected in (
        ((50, 0, 100, 100), 0.5),
        ((55, 0, 100, 100), 0.125),
        ((0, 0, 100, 100), 1),
        ((61, 0, 90, 90), 0),
    ):
        for converted in (boxes, boxes.convert_to('qbox')):
            assert visible_fraction(converted, window).item() == pytest.approx(expected, abs=1e-4)


def test_visible_fraction_of_other_boxes():
    assert visible_fraction(HorizontalBoxes(torch.tensor([[0.0, 0, 10, 10]])), (5, 5, 20, 20)).item() == pytest.approx(
        0.25
    )
    assert visible_fraction(RotatedBoxes(torch.zeros(0, 5)), (0, 0, 9, 9)).shape == (0,)


def test_visibility_thresholds():
    results = dict(
        gt_bboxes=RotatedBoxes(torch.zeros(6, 5)),
        gt_bboxes_labels=np.arange(6),
        gt_ignore_flags=np.array([False, False, False, True, False, False]),
    )
    visible = torch.tensor([1.0, 0.5, 0.3, 0.9, 0.05, float('nan')])
    apply_visibility(results, visible, 0.5, 0.1)
    assert results['gt_bboxes_labels'].tolist() == [0, 1, 2, 3]
    assert results['gt_ignore_flags'].tolist() == [False, False, True, True]


def test_invisible_boxes_go_even_with_zero_thresholds():
    results = dict(gt_bboxes=RotatedBoxes(torch.zeros(2, 5)))
    apply_visibility(results, torch.tensor([0.0, 0.01]), 0.0, 0.0)
    assert len(results['gt_bboxes']) == 1


def test_homographies_multiply_from_the_left():
    results = {}
    record_homography(results, np.diag([2.0, 2.0, 1.0]))
    record_homography(results, np.array([[1.0, 0, 5], [0, 1, 0], [0, 0, 1]]))
    assert (results['homography_matrix'] @ np.array([1, 1, 1])).tolist() == [7, 2, 1]


def test_threshold_order():
    with pytest.raises(ConfigError, match=r'X: ignore_visibility is 0.6 and min_visibility 0.5, expected 0 <='):
        check_visibility(0.5, 0.6, 'X')

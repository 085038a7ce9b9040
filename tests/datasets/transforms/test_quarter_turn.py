"""Exact quarter turns."""

import numpy as np
import pytest
import torch
from mmcv.transforms.utils import cache_random_params

from stn_det.datasets.transforms import RandomQuarterTurn
from stn_det.datasets.transforms.quarter_turn import turn_image, turn_matrix
from stn_det.errors import ConfigError, InputError


@pytest.mark.parametrize('box_type', ['rbox', 'qbox'])
@pytest.mark.parametrize('turns', [1, 2, 3])
def test_image_and_boxes_agree(make_sample, rendered, box_type, turns):
    results = RandomQuarterTurn(prob=1.0, turns=(turns,))(make_sample(box_type))
    assert results['img_shape'] == results['img'].shape[:2] == ((120, 90) if turns % 2 else (90, 120))
    assert rendered.farthest_corner(results['gt_bboxes'], results['img']) < 0.1


def test_hbox_moves_exactly(make_sample):
    results = make_sample('hbox')
    x1, y1, x2, y2 = results['gt_bboxes'].tensor.unbind(-1)
    turned = RandomQuarterTurn(prob=1.0, turns=(1,))(results)['gt_bboxes'].tensor
    assert torch.allclose(turned, torch.stack([90 - y2, x1, 90 - y1, x2], dim=-1), atol=1e-4)


def test_one_turn_is_clockwise_on_screen():
    image = np.array([[1, 2, 3], [4, 5, 6]])
    assert turn_image(image, 1).tolist() == [[4, 1], [5, 2], [6, 3]]
    assert turn_matrix(1, 3, 2) @ np.array([0.5, 0.5, 1]) == pytest.approx([1.5, 0.5, 1])  # the 1 goes top right


@pytest.mark.parametrize('box_type', ['rbox', 'qbox', 'hbox'])
def test_four_turns_are_the_identity(make_sample, box_type):
    original, results = make_sample(box_type), make_sample(box_type)
    for _ in range(4):
        results = RandomQuarterTurn(prob=1.0, turns=(1,))(results)
    assert np.array_equal(results['img'], original['img'])
    assert torch.allclose(results['gt_bboxes'].tensor, original['gt_bboxes'].tensor, atol=1e-4)
    assert np.allclose(results['homography_matrix'], np.eye(3))


def test_probability_and_shared_randomness(make_sample):
    assert np.array_equal(RandomQuarterTurn(prob=0.0)(make_sample())['img'], make_sample()['img'])
    turn = RandomQuarterTurn(prob=0.75)
    drawn = {turn._draw_turns() for _ in range(60)}
    assert drawn == {0, 1, 2, 3}
    with cache_random_params(turn):
        images = [turn(make_sample())['img'] for _ in range(4)]
    assert all(np.array_equal(image, images[0]) for image in images)


def test_errors(make_sample):
    with pytest.raises(ConfigError, match=r'turns is \(0, 1\), expected numbers from 1 to 3'):
        RandomQuarterTurn(turns=(0, 1))
    with pytest.raises(ConfigError, match=r'prob is 1.5, expected a probability'):
        RandomQuarterTurn(prob=1.5)
    with pytest.raises(InputError, match='the sample has no image'):
        RandomQuarterTurn()(dict(gt_bboxes=make_sample()['gt_bboxes']))
    with pytest.raises(ConfigError, match=r"holds \['gt_masks'\], which this transform does not move"):
        RandomQuarterTurn()(dict(make_sample(), gt_masks=np.zeros((3, 90, 120))))

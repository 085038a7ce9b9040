"""The cost of matching: values in diagonals of the image, an assignment across the seam."""

import math

import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

from stn_det.errors import ConfigError, InputError
from stn_det.structures import RotatedBoxes


def test_cost_of_known_boxes_in_diagonals() -> None:
    pred = InstanceData(bboxes=torch.tensor([[13.0, 14, 8, 4, 0], [10.0, 10, 8, 4, 0]]))
    truth = InstanceData(bboxes=RotatedBoxes([[10.0, 10, 8, 4, 0], [10, 10, 4, 8, math.pi / 2], [13, 14, 8, 4, 0]]))
    cost = TASK_UTILS.build(dict(type='HausdorffCost', weight=2.0))
    expected = torch.tensor([[5.0, 5, 0], [0.0, 0, 5]])
    found = cost(pred, truth, dict(img_shape=(300, 400, 3)))
    torch.testing.assert_close(found, 2 * expected / 500, rtol=0, atol=1e-6)
    torch.testing.assert_close(cost(pred, truth), 2 * expected, rtol=0, atol=1e-4)


def test_hungarian_matching_pairs_boxes_across_the_seam() -> None:
    pred = InstanceData(
        bboxes=torch.tensor([[50.0, 50, 40, 8, 0.0], [50.0, 50, 40, 8, math.pi / 2 - 0.05]]),
        scores=torch.zeros(2, 1),
    )
    truth = InstanceData(bboxes=torch.tensor([[50.0, 50, 40, 8, -math.pi / 2 + 0.05]]), labels=torch.tensor([0]))
    assigner = TASK_UTILS.build(dict(type='HungarianAssigner', match_costs=[dict(type='HausdorffCost')]))
    found = assigner.assign(pred, truth, img_meta=dict(img_shape=(100, 100)))
    assert found.gt_inds.tolist() == [0, 1]
    # an L1 distance of the angles would have chosen the other: 1.52 against 3.04


def test_bad_inputs_are_refused() -> None:
    cost, boxes = TASK_UTILS.build(dict(type='HausdorffCost')), InstanceData(bboxes=torch.zeros(2, 5))
    with pytest.raises(InputError, match=r"img_meta is a dict of \['ori_shape'\]; expected img_shape"):
        cost(boxes, boxes, dict(ori_shape=(3, 4)))
    with pytest.raises(InputError, match=r'boxes1 has shape \(2, 4\), expected \(M, 5\)'):
        cost(InstanceData(bboxes=torch.zeros(2, 4)), boxes)
    with pytest.raises(ConfigError, match=r"mode is 'edges'; expected one of"):
        TASK_UTILS.build(dict(type='HausdorffCost', mode='edges'))

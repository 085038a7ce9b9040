"""The Chamfer cost in diagonals of the image."""

import math

import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

from stn_det.structures import RotatedBoxes


def test_cost_of_known_boxes_in_diagonals() -> None:
    pred = InstanceData(bboxes=torch.tensor([[11.5, 12, 8, 4, 0], [10.0, 10, 8, 4, 0]]))
    truth = InstanceData(bboxes=RotatedBoxes([[10.0, 10, 8, 4, 0], [10, 10, 4, 8, math.pi / 2], [11.5, 12, 8, 4, 0]]))
    cost = TASK_UTILS.build(dict(type='ChamferCost', weight=3.0))
    expected = torch.tensor([[5.0, 5, 0], [0.0, 0, 5]])
    found = cost(pred, truth, dict(img_shape=(300, 400, 3)))
    torch.testing.assert_close(found, 3 * expected / 500, rtol=0, atol=1e-6)
    torch.testing.assert_close(cost(pred, truth), 3 * expected, rtol=0, atol=1e-4)

"""L1 cost of boxes: each number's share by hand, the seam with and without its jump."""

import math

import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

from stn_det.errors import InputError
from stn_det.structures import RotatedBoxes

META = dict(img_shape=(300, 400))  # diagonal 500


def test_share_of_each_number() -> None:
    truth = InstanceData(bboxes=RotatedBoxes([[100.0, 100, 40, 20, 0.0]]))
    off = torch.tensor([[40.0, 0, 0, 0, 0], [0, -30, 0, 0, 0], [0, 0, 50, 0, 0], [0, 0, 0, 100, 0], [0, 0, 0, 0, 0.3]])
    pred = InstanceData(bboxes=truth.bboxes.tensor + off)
    expected = torch.tensor([[0.1], [0.1], [0.1], [0.2], [0.3 / math.pi]])
    found = TASK_UTILS.build(dict(type='PeriodicBoxL1Cost', weight=5.0))(pred, truth, META)
    torch.testing.assert_close(found, 5 * expected, rtol=0, atol=1e-5)
    expected[4] *= 2
    found = TASK_UTILS.build(dict(type='PeriodicBoxL1Cost', angle_weight=2.0))(pred, truth, META)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_all_pairs_add_their_differences() -> None:
    first, second = torch.rand(5, 5), torch.rand(3, 5)
    found = TASK_UTILS.build(dict(type='PeriodicBoxL1Cost'))(
        InstanceData(bboxes=first), InstanceData(bboxes=second), META
    )
    scale = torch.tensor([400.0, 300, 500, 500, math.pi])
    torch.testing.assert_close(found, ((first[:, None] - second[None]).abs() / scale).sum(-1))


def test_the_seam() -> None:
    pred = InstanceData(bboxes=torch.tensor([[100.0, 100, 40, 20, math.pi / 2 - 0.05]]))
    truth = InstanceData(bboxes=torch.tensor([[100.0, 100, 40, 20, -math.pi / 2 + 0.05]]))
    periodic = TASK_UTILS.build(dict(type='PeriodicBoxL1Cost'))(pred, truth, META)
    plain = TASK_UTILS.build(dict(type='PeriodicBoxL1Cost', seam=True))(pred, truth, META)
    assert periodic.item() == pytest.approx(0.1 / math.pi, abs=1e-6)
    assert plain.item() == pytest.approx((math.pi - 0.1) / math.pi, abs=1e-6)


def test_bad_inputs_are_refused() -> None:
    cost, boxes = TASK_UTILS.build(dict(type='PeriodicBoxL1Cost')), InstanceData(bboxes=torch.zeros(2, 5))
    with pytest.raises(InputError, match=r'img_meta is None; expected img_shape \(height, width\)'):
        cost(boxes, boxes)
    with pytest.raises(InputError, match=r'gt_instances.bboxes has shape \(2, 4\), expected \(N, 5\)'):
        cost(boxes, InstanceData(bboxes=torch.zeros(2, 4)), META)

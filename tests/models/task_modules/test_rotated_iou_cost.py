"""Costs of overlap: hand-worked values, all pairs against rows."""

import math

import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

from stn_det.errors import ConfigError
from stn_det.models.losses import pairs
from stn_det.models.task_modules.rotated_iou_cost import pairwise_rotated_giou
from stn_det.ops import rotated_iou_giou
from stn_det.structures import RotatedBoxes


def test_known_overlaps() -> None:
    # half a box further: 1/3; two boxes further: hull 3 boxes, one of them empty
    pred = InstanceData(bboxes=torch.tensor([[10.0, 10, 8, 4, 0], [14.0, 10, 8, 4, 0], [26.0, 10, 8, 4, 0]]))
    truth = InstanceData(bboxes=RotatedBoxes([[10.0, 10, 4, 8, math.pi / 2]]))
    iou = TASK_UTILS.build(dict(type='RotatedIoUCost', iou_mode='iou', weight=2.0))(pred, truth)
    torch.testing.assert_close(iou, torch.tensor([[-2.0], [-2 / 3], [0.0]]), rtol=0, atol=1e-5)
    giou = TASK_UTILS.build(dict(type='RotatedIoUCost', weight=2.0))(pred, truth)
    torch.testing.assert_close(giou, torch.tensor([[-2.0], [-2 / 3], [2 / 3]]), rtol=0, atol=1e-5)


def test_all_pairs_equal_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, 'PAIRS_AT_ONCE', 10)
    scale, start = torch.tensor([60.0, 60, 40, 20, math.pi]), torch.tensor([0.0, 0, 4, 4, -math.pi / 2])
    first, second = torch.rand(7, 5) * scale + start, torch.rand(4, 5) * scale + start
    expected = torch.stack([rotated_iou_giou(first, box.expand(7, 5).contiguous())[1] for box in second], 1)
    assert torch.equal(pairwise_rotated_giou(first, second), expected)
    assert pairwise_rotated_giou(first[:0], second).shape == (0, 4)


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"iou_mode is 'diou'; expected one of \['giou', 'iou'\]"):
        TASK_UTILS.build(dict(type='RotatedIoUCost', iou_mode='diou'))

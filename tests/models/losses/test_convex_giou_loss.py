"""The registered loss on quadrilaterals: values, weights, empty input, training."""

import pytest
import torch
from mmdet.registry import MODELS

from stn_det.errors import ConfigError
from stn_det.geometry import rbox_to_qbox
from stn_det.ops import rotated_iou_giou

SQUARE = [0.0, 0, 4, 0, 4, 4, 0, 4]


def test_known_values() -> None:
    # Half overlap: 8 / 24 - 0. Beside, 4 apart: 0 - (48 - 32) / 48. Equal: 1.
    moved = torch.tensor([[2.0, 0, 6, 0, 6, 4, 2, 4], [8.0, 0, 12, 0, 12, 4, 8, 4], SQUARE])
    loss = MODELS.build(dict(type='ConvexGIoULoss', reduction='none'))
    expected = torch.tensor([1 - 1 / 3, 1 + 1 / 3, 0.0])
    torch.testing.assert_close(loss(moved, torch.tensor([SQUARE] * 3)), expected, rtol=0, atol=1e-6)


def test_rectangles_give_the_loss_of_rotated_boxes() -> None:
    u = torch.rand((40, 5), generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([300.0, 300, 5, 5, -1.5]) + u * torch.tensor([60.0, 60, 60, 60, 3])
    pred, target = boxes[:20], boxes[20:]
    loss = MODELS.build(dict(type='ConvexGIoULoss', reduction='none'))
    expected = 1 - rotated_iou_giou(pred, target)[1]
    torch.testing.assert_close(loss(rbox_to_qbox(pred), rbox_to_qbox(target)), expected, rtol=1e-4, atol=1e-4)


def test_weights_average_and_empty_input() -> None:
    pred, target = torch.tensor([[2.0, 0, 6, 0, 6, 4, 2, 4], SQUARE]), torch.tensor([SQUARE] * 2)
    loss = MODELS.build(dict(type='ConvexGIoULoss', loss_weight=3.0))
    weight = torch.tensor([2.0, 5.0])
    assert loss(pred, target, weight, avg_factor=4.0).item() == pytest.approx(3 * 2 * (2 / 3) / 4, abs=1e-5)
    empty = torch.zeros((0, 18), requires_grad=True)
    value = loss(empty, torch.zeros(0, 8))
    value.backward()
    assert value.item() == 0
    with pytest.raises(ConfigError, match="reduction is 'avg'"):
        MODELS.build(dict(type='ConvexGIoULoss', reduction='avg'))


def test_points_far_away_learn_to_outline_the_target() -> None:
    target = torch.tensor([[40.0, 10, 60, 20, 52, 36, 32, 26]])
    points = torch.rand((1, 18), generator=torch.Generator().manual_seed(1)).mul(8).requires_grad_()
    loss = MODELS.build(dict(type='ConvexGIoULoss'))
    optimizer = torch.optim.Adam([points], lr=0.5)
    before = loss(points, target).item()
    for _ in range(300):
        optimizer.zero_grad()
        loss(points, target).backward()
        optimizer.step()
    assert before > 1.5
    assert loss(points, target).item() < 0.1

"""Which cells belong to which box, and the frames they should have."""

import math

import pytest
import torch
from torch import Tensor

from stn_det.errors import InputError
from stn_det.geometry import hbox_to_qbox, points_in_rboxes
from stn_det.models.task_modules import as_rboxes, frame_targets

STRIDE = 8
SIZE = (16, 20)


def boxes(*rows: list[float]) -> Tensor:
    """Rotated boxes in pixels."""
    return torch.tensor(rows).reshape(-1, 5)


def centers() -> Tensor:
    """Centres (H, W, 2) of all cells, pixels."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5, indexing='ij')
    return torch.stack([x, y], -1) * STRIDE


def test_no_boxes_no_positive_cells() -> None:
    targets = frame_targets(boxes(), SIZE, STRIDE)
    assert not targets.positive.any()
    assert targets.offset.shape == targets.log_scale.shape == targets.direction.shape == (2, *SIZE)


def test_positive_cells_are_those_inside_and_their_frames_lie_on_the_box() -> None:
    box = boxes([83.0, 61.0, 54.0, 24.0, 0.6])
    targets = frame_targets(box, SIZE, STRIDE)
    inside = points_in_rboxes(centers().view(-1, 2), box)[:, 0].view(SIZE)
    assert torch.equal(targets.positive, inside)
    reached = centers() / STRIDE + targets.offset.permute(1, 2, 0)
    assert torch.allclose(reached[inside], box[0, :2] / STRIDE)
    expected = torch.tensor([54.0, 24.0]) / STRIDE / 3
    assert torch.allclose(targets.log_scale[:, inside].exp(), expected[:, None])
    assert torch.allclose(targets.direction[:, inside], torch.tensor([math.cos(1.2), math.sin(1.2)])[:, None])
    assert torch.allclose(targets.elongation[inside], torch.tensor(1 - (24 / 54) ** 2))


def test_a_half_turn_changes_nothing() -> None:
    one = frame_targets(as_rboxes(boxes([83.0, 61.0, 54.0, 24.0, 0.6])), SIZE, STRIDE)
    other = frame_targets(as_rboxes(boxes([83.0, 61.0, 54.0, 24.0, 0.6 + math.pi])), SIZE, STRIDE)
    for a, b in zip(one, other):
        assert torch.allclose(a.float(), b.float(), atol=1e-5)


def test_every_box_however_thin_has_a_cell() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        x, y, angle = torch.rand(3, generator=generator).tolist()
        box = boxes([20 + 100 * x, 20 + 80 * y, 1.0, 0.5, math.pi * (angle - 0.5)])
        targets = frame_targets(box, SIZE, STRIDE)
        assert targets.positive[int(box[0, 1] // STRIDE), int(box[0, 0] // STRIDE)]
        assert targets.positive.sum() <= 4


def test_the_smaller_of_two_boxes_takes_the_cell() -> None:
    large, small = [80.0, 64.0, 60.0, 60.0, 0.0], [84.0, 68.0, 16.0, 16.0, 0.0]
    for rows in ((large, small), (small, large)):
        targets = frame_targets(boxes(*rows), SIZE, STRIDE)
        sides = targets.log_scale.exp() * 3 * STRIDE
        assert sides[:, 8, 10].tolist() == pytest.approx([16, 16])  # centre (84, 68)
        assert sides[:, 5, 8].tolist() == pytest.approx([60, 60])


def test_reach_and_size_range_and_scale_limit() -> None:
    box = boxes([80.0, 64.0, 140.0, 120.0, 0.0])  # side 129.6: 16.2 strides
    near = frame_targets(box, SIZE, STRIDE, max_offset=2.0).positive
    assert near.sum() == 16  # the cells whose centres are 0.5 or 1.5 cells away in x and y
    assert not frame_targets(box, SIZE, STRIDE, size_range=(0.0, 16.2)).positive.any()
    assert frame_targets(box, SIZE, STRIDE, size_range=(16.2, 20.0)).positive.any()
    limited = frame_targets(box, SIZE, STRIDE, max_scale=2.0)
    assert torch.allclose(limited.log_scale[:, limited.positive].exp(), torch.tensor(2.0))


def test_boxes_outside_of_the_map_have_no_cells() -> None:
    outside = boxes([-40.0, 64.0, 20.0, 20.0, 0.0], [1e7, 1e7, 20.0, 20.0, 0.0])
    assert not frame_targets(outside, SIZE, STRIDE).positive.any()


def test_zero_area_is_finite() -> None:
    targets = frame_targets(boxes([80.0, 64.0, 0.0, 0.0, 0.0]), SIZE, STRIDE)
    assert targets.positive.any()
    assert all(torch.isfinite(part).all() for part in targets)


def test_other_box_types_become_rotated_ones() -> None:
    flat = torch.tensor([[10.0, 20.0, 50.0, 40.0]])
    expected = boxes([30.0, 30.0, 40.0, 20.0, 0.0])
    for other in (flat, hbox_to_qbox(flat), expected):
        assert torch.allclose(as_rboxes(other), expected)
    with pytest.raises(InputError, match=r'boxes have shape \(1, 6\), expected \(M, 5\), \(M, 8\) or \(M, 4\)'):
        as_rboxes(torch.zeros(1, 6))

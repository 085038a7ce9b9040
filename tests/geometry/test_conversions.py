"""Conversions between hbox, rbox and qbox."""

import math

import pytest
import torch

from stn_det.errors import InputError
from stn_det.geometry import (
    canonicalize_rboxes,
    hbox_to_qbox,
    hbox_to_rbox,
    qbox_to_hbox,
    qbox_to_rbox,
    rbox_to_hbox,
    rbox_to_qbox,
)

CONVERSIONS = [
    (rbox_to_qbox, 5, 8),
    (qbox_to_rbox, 8, 5),
    (rbox_to_hbox, 5, 4),
    (hbox_to_rbox, 4, 5),
    (hbox_to_qbox, 4, 8),
    (qbox_to_hbox, 8, 4),
]


@pytest.mark.parametrize(('convert', 'size', 'result_size'), CONVERSIONS)
@pytest.mark.parametrize('lead', [(0,), (), (3,), (2, 3)])
@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
def test_shapes_and_types(convert, size, result_size, lead, dtype):
    result = convert(torch.rand(*lead, size).to(dtype))
    assert result.shape == (*lead, result_size)
    assert result.dtype == dtype


@pytest.mark.parametrize(('convert', 'size', 'result_size'), CONVERSIONS)
def test_integers_become_float32(convert, size, result_size):
    boxes = torch.arange(size)[None] ** 2
    result = convert(boxes)
    assert result.dtype == torch.float32
    assert torch.equal(result, convert(boxes.float()))


@pytest.mark.parametrize(('convert', 'size', 'result_size'), CONVERSIONS)
def test_wrong_sizes(convert, size, result_size):
    with pytest.raises(InputError, match=rf'must have shape \(\.\.\., {size}\), got \(2, 7\)'):
        convert(torch.zeros(2, 7))


def test_corner_order_and_sense_of_theta():
    flat = torch.tensor([50.0, 40.0, 20.0, 10.0, 0.0])
    assert rbox_to_qbox(flat).tolist() == [40, 35, 60, 35, 60, 45, 40, 45]
    quarter = torch.tensor([50.0, 40.0, 20.0, 10.0, math.pi / 2])  # the x axis turns to the y axis, which is down
    assert torch.allclose(rbox_to_qbox(quarter), torch.tensor([55.0, 30, 55, 50, 45, 50, 45, 30]))


def test_rbox_qbox_round_trip(rboxes, box_distance):
    expected = canonicalize_rboxes(rboxes)
    assert torch.allclose(qbox_to_rbox(rbox_to_qbox(rboxes)), expected, atol=1e-9)
    single = rboxes.float()
    result = qbox_to_rbox(rbox_to_qbox(single))
    assert box_distance(result.double(), single.double()).max() < 2e-3


def test_round_trip_is_differentiable(rboxes):
    boxes = canonicalize_rboxes(rboxes[:5]).requires_grad_()
    assert torch.autograd.gradcheck(lambda b: qbox_to_rbox(rbox_to_qbox(b)), (boxes,), atol=1e-4)
    jacobian = torch.autograd.functional.jacobian(lambda b: qbox_to_rbox(rbox_to_qbox(b)), boxes[0])
    assert torch.allclose(jacobian, torch.eye(5, dtype=torch.float64), atol=1e-9)


def test_rbox_to_hbox_encloses_tightly(rboxes):
    corners = rbox_to_qbox(rboxes).unflatten(-1, (4, 2))
    expected = torch.cat([corners.amin(-2), corners.amax(-2)], dim=-1)
    assert torch.allclose(rbox_to_hbox(rboxes), expected)
    assert torch.allclose(qbox_to_hbox(rbox_to_qbox(rboxes)), expected)


def test_hbox_round_trips():
    hboxes = torch.tensor([[0.0, 0.0, 8.0, 2.0], [1.0, 2.0, 3.0, 9.0], [5.0, 5.0, 9.0, 9.0], [4.0, 4.0, 4.0, 4.0]])
    rboxes = hbox_to_rbox(hboxes)
    assert torch.allclose(rbox_to_hbox(rboxes), hboxes, atol=1e-5)
    assert torch.equal(qbox_to_hbox(hbox_to_qbox(hboxes)), hboxes)
    assert torch.allclose(rboxes[:, 4], torch.tensor([0.0, -math.pi / 2, 0.0, 0.0]))
    assert torch.equal(rboxes[:, 2], torch.tensor([8.0, 7.0, 4.0, 0.0]))
    assert torch.allclose(qbox_to_rbox(hbox_to_qbox(hboxes)), rboxes)


def test_autocast_does_not_lower_the_precision(rboxes):
    boxes = rboxes.float()
    expected = qbox_to_rbox(rbox_to_qbox(boxes))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(qbox_to_rbox(rbox_to_qbox(boxes)), expected)

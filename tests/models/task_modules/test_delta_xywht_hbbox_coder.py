"""Oriented boxes relative to horizontal ones: numbers worked by hand, round trips, refusals."""

import math

import pytest
import torch
from mmdet.registry import TASK_UTILS

from stn_det.errors import InputError
from stn_det.models import DeltaXYWHTHBBoxCoder

REGION = torch.tensor([[10.0, 20.0, 50.0, 40.0]])  # centre (30, 30), sides 40 and 20


def coder(**options) -> DeltaXYWHTHBBoxCoder:
    """A coder as configs build it."""
    return TASK_UTILS.build(dict(type='DeltaXYWHTHBBoxCoder', **options))


def test_numbers_by_hand() -> None:
    box = torch.tensor([[34.0, 29.0, 30.0, 10.0, 0.3]])
    expected = torch.tensor([[0.1, -0.05, math.log(30 / 40), math.log(10 / 20), 0.3]])
    torch.testing.assert_close(coder().encode(REGION, box), expected)
    scaled = coder(target_stds=[0.1, 0.1, 0.2, 0.2, 1], norm_factor=2).encode(REGION, box)
    factors = torch.tensor([10, 10, 5, 5, 1 / (2 * math.pi)])
    torch.testing.assert_close(scaled, expected * factors)


def test_a_tall_object_is_not_turned_by_a_right_angle() -> None:
    tall = torch.tensor([[20.0, 10.0, 40.0, 60.0]])  # sides 20 and 50
    box = torch.tensor([[30.0, 35.0, 50.0, 20.0, -math.pi / 2]])  # the same rectangle in le90
    torch.testing.assert_close(coder(edge_swap=True).encode(tall, box), torch.zeros(1, 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(coder(edge_swap=True).decode(tall, torch.zeros(1, 5)), box)


@pytest.mark.parametrize('edge_swap', [False, True])
def test_round_trip(edge_swap: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    draw = torch.rand((200, 5), generator=generator, dtype=torch.float64)
    long = 10 + draw[:, 2:3] * 60
    boxes = torch.cat([draw[:, :2] * 99, long, long * (0.1 + 0.8 * draw[:, 3:4]), (draw[:, 4:] - 0.5) * math.pi], 1)
    both = coder(edge_swap=edge_swap, norm_factor=2, target_stds=[0.1, 0.1, 0.2, 0.2, 1])
    regions = REGION.double().expand(200, 4)
    code = both.encode(regions, boxes)
    torch.testing.assert_close(both.decode(regions, code), boxes)
    if edge_swap:
        assert (code[:, 4] * 2 * math.pi).abs().max() <= math.pi / 4


def test_no_boxes_and_other_boxes() -> None:
    assert coder().encode(torch.zeros(0, 4), torch.zeros(0, 5)).shape == (0, 5)
    with pytest.raises(InputError, match=r'bboxes has shape \(2, 5\), expected \(..., 4\)'):
        coder().encode(torch.zeros(2, 5), torch.zeros(2, 5))

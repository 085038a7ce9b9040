"""The point coder by distances along the box's own axes."""

import math

import pytest
import torch

from stn_det.geometry import canonicalize_rboxes, points_in_rboxes
from stn_det.models import DistanceAnglePointCoder

POINTS = torch.tensor([[10.0, 5.0, 8.0], [195.0, 122.0, 16.0], [33.0, 64.0, 32.0]])
BOXES = torch.tensor([[6.0, 1.0, 24.0, 9.0, 0.9], [190.0, 130.0, 80.0, 47.0, -1.5], [33.0, 64.0, 5.0, 5.0, 0.0]])
PSEUDO = dict(type='PseudoAngleCoder')


@pytest.mark.parametrize('exp_on_reg', [True, False])
@pytest.mark.parametrize(('angle_coder', 'size'), [(None, 6), (PSEUDO, 5), (dict(type='PSCCoder'), 10)])
def test_round_trip(exp_on_reg: bool, angle_coder: dict | None, size: int) -> None:
    coder = DistanceAnglePointCoder(angle_coder=angle_coder, exp_on_reg=exp_on_reg)
    assert points_in_rboxes(POINTS[:, :2], BOXES).diagonal().all()
    code = coder.encode(POINTS, BOXES)
    assert code.shape[-1] == coder.encode_size == size
    torch.testing.assert_close(canonicalize_rboxes(coder.decode(POINTS, code)), BOXES, rtol=1e-5, atol=1e-4)


def test_code_of_known_box() -> None:
    # The box points down. The point is 4 pixels below its centre, that is 4 ahead: 6 - 4 = 2 strides of 1 to the right
    # end, 10 to the left end; and 1 to the right of the centre on screen, that is 1 towards the top of the box.
    box = torch.tensor([[50.0, 40.0, 12.0, 6.0, math.pi / 2]])
    point = torch.tensor([[51.0, 44.0, 2.0]])
    code = DistanceAnglePointCoder(angle_coder=PSEUDO, exp_on_reg=False).encode(point, box)
    torch.testing.assert_close(code, torch.tensor([[5.0, 1.0, 1.0, 2.0, math.pi / 2]]))
    logs = DistanceAnglePointCoder().encode(point, box)
    torch.testing.assert_close(logs[0, :4], torch.tensor([5.0, 1.0, 1.0, 2.0]).log())
    torch.testing.assert_close(logs[0, 4:], torch.tensor([-1.0, 0.0]), rtol=0, atol=1e-6)


def test_decoded_box_holds_its_point_whatever_the_code() -> None:
    code = torch.randn((500, 6), generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    points = torch.tensor([[70.0, 30.0, 16.0]]).double().expand(500, 3)
    boxes = DistanceAnglePointCoder().decode(points, code)
    assert points_in_rboxes(points[:1, :2], boxes).all()


def test_linear_distances_reach_a_box_beside_the_point() -> None:
    coder = DistanceAnglePointCoder(exp_on_reg=False)
    point, box = torch.tensor([[20.0, 20.0, 8.0]]), torch.tensor([[14.0, 20.0, 4.0, 2.0, 0.3]])
    torch.testing.assert_close(coder.decode(point, coder.encode(point, box)), box)


@pytest.mark.parametrize('exp_on_reg', [True, False])
def test_extreme_code_gives_a_finite_box_of_some_area(exp_on_reg: bool) -> None:
    code = torch.tensor(
        [[1e30, 80.0, -1e30, -80.0, 0.0, 0.0], [-9.0, -9.0, -9.0, -9.0, 1e-20, 0.0]], requires_grad=True
    )
    boxes = DistanceAnglePointCoder(exp_on_reg=exp_on_reg).decode(POINTS[:2], code)
    assert torch.isfinite(boxes).all()
    assert (boxes[:, 2:4] > 0).all()
    boxes.sum().backward()
    assert torch.isfinite(code.grad).all()

"""The point coder: round trip, no seam, gradients without a hole."""

import math

import pytest
import torch
from mmdet.registry import TASK_UTILS

from stn_det.geometry import canonicalize_rboxes
from stn_det.models import OrientedPointCoder
from stn_det.models.task_modules.oriented_point_coder import squareness

POINTS = torch.tensor([[4.0, 4.0, 8.0], [200.0, 120.0, 16.0], [33.0, 64.0, 32.0]])
BOXES = torch.tensor([[6.0, 1.0, 24.0, 9.0, 0.4], [190.0, 130.0, 80.0, 7.0, -1.5], [33.0, 64.0, 5.0, 5.0, 0.0]])


def test_round_trip() -> None:
    coder = OrientedPointCoder()
    decoded = coder.decode(POINTS, coder.encode(POINTS, BOXES))
    torch.testing.assert_close(canonicalize_rboxes(decoded), BOXES, rtol=1e-5, atol=1e-4)


def test_code_of_known_box() -> None:
    code = OrientedPointCoder(base_side=2.0).encode(POINTS[:1], torch.tensor([[12.0, 0.0, 16.0, 8.0, math.pi / 4]]))
    expected = torch.tensor([[1.0, -0.5, 0.0, math.log(0.5), 0.0, 1.0, -1.0, 0.0]])
    torch.testing.assert_close(code, expected, rtol=0, atol=1e-6)


def test_code_is_continuous_across_the_seam() -> None:
    coder = OrientedPointCoder()
    before = torch.tensor([[10.0, 10, 30, 8, math.pi / 2 - 1e-3]])
    after = torch.tensor([[10.0, 10, 30, 8, -math.pi / 2 + 1e-3]])
    assert (coder.encode(POINTS[:1], before) - coder.encode(POINTS[:1], after)).abs().max() < 1e-2


def test_gradient_is_finite_for_a_vector_without_direction() -> None:
    code = torch.zeros((1, 8), requires_grad=True)
    OrientedPointCoder().decode(POINTS[:1], code).sum().backward()
    assert torch.isfinite(code.grad).all()


def test_huge_logarithm_is_bounded() -> None:
    code = torch.tensor([[0.0, 0.0, 80.0, -80.0, 1.0, 0.0, 1.0, 0.0]])
    box = OrientedPointCoder().decode(POINTS[:1], code)
    assert torch.isfinite(box).all()
    assert box[0, 2].item() == pytest.approx(16 * math.exp(6.0))


def test_square_turned_by_a_quarter_has_the_same_fine_vector() -> None:
    boxes = torch.tensor([[10.0, 10, 20, 20, 0.3], [10.0, 10, 20, 20, 0.3 - math.pi / 2]])
    code = OrientedPointCoder().encode(POINTS[:1], boxes)
    torch.testing.assert_close(code[0, 6:], code[1, 6:], rtol=0, atol=1e-6)
    assert (code[0, 4:6] + code[1, 4:6]).abs().max() < 1e-6


@pytest.mark.parametrize('theta', [-1.57, -0.9, -0.3, 0.0, 0.7, 0.8, 1.5])
@pytest.mark.parametrize('error', [-0.6, 0.0, 0.6])
@pytest.mark.parametrize(('height', 'kept'), [(38.0, (6, 8)), (10.0, (4, 6))], ids=['square', 'elongated'])
def test_angle_of_squares_and_of_elongated_boxes_has_its_own_vector(
    theta: float, error: float, height: float, kept: tuple[int, int]
) -> None:
    coder = OrientedPointCoder()
    box = torch.tensor([[10.0, 10, 40, height, theta]])
    code = coder.encode(POINTS[:1], box + torch.tensor([0, 0, 0, 0, error]))
    right = coder.encode(POINTS[:1], box)
    code[:, kept[0] : kept[1]] = right[:, kept[0] : kept[1]]  # the other vector is off, by less than pi/4
    torch.testing.assert_close(canonicalize_rboxes(coder.decode(POINTS[:1], code)), box, rtol=0, atol=1e-4)


def test_squareness_of_known_boxes() -> None:
    sides = torch.tensor([[40.0, 10.0], [40.0, 20.0], [20.0, 32.0], [30.0, 40.0], [7.0, 7.0], [0.0, 0.0]])
    torch.testing.assert_close(squareness(sides), torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0, 0.0]))


ANGLE_CODERS = [
    dict(type='PseudoAngleCoder'),
    dict(type='CSLCoder', omega=2.0),
    dict(type='PSCCoder'),
    dict(type='ACMCoder', dual_freq=False),
    dict(type='DFLAngleCoder', num_bins=12),
]


@pytest.mark.parametrize('config', ANGLE_CODERS, ids=lambda config: config['type'])
def test_an_angle_coder_takes_the_place_of_the_vectors(config: dict) -> None:
    coder = TASK_UTILS.build(dict(type='OrientedPointCoder', angle_coder=config))
    alone = TASK_UTILS.build(config)
    code = coder.encode(POINTS, BOXES)
    assert coder.encode_size == code.shape[-1] == 4 + alone.encode_size
    assert torch.equal(code[:, 4:], alone.encode(BOXES[:, 4]))
    assert torch.equal(code[:, 4:], coder.encode_angle(BOXES[:, 4]))
    assert torch.equal(coder.initial_angle_code(), alone.initial_code())
    assert torch.equal(code[:, :4], OrientedPointCoder().encode(POINTS, BOXES)[:, :4])
    decoded = coder.decode(POINTS, code)
    torch.testing.assert_close(decoded[:, :4], BOXES[:, :4], rtol=1e-5, atol=1e-4)
    assert torch.equal(decoded[:, 4], alone.decode(code[:, 4:]))


def test_without_an_angle_coder_the_code_is_that_of_two_vectors() -> None:
    """The formulas of earlier checkpoints, written out; bit for bit."""
    coder = OrientedPointCoder()
    assert coder.encode_size == 8
    assert coder.initial_angle_code().tolist() == [1, 0, 1, 0]
    theta = BOXES[:, 4]
    vectors = torch.stack([(2 * theta).cos(), (2 * theta).sin(), (4 * theta).cos(), (4 * theta).sin()], -1)
    assert torch.equal(coder.encode(POINTS, BOXES)[:, 4:], vectors)
    code = torch.randn((3, 8), generator=torch.Generator().manual_seed(0))
    sides = code[:, 2:4].clamp(max=6.0).exp() * (POINTS[:, 2:] * 2.0)
    coarse, fine = torch.atan2(code[:, 5], code[:, 4]) / 2, torch.atan2(code[:, 7], code[:, 6]) / 4
    step = fine - coarse
    step = step - (step / (math.pi / 2)).round() * (math.pi / 2)
    decoded = coder.decode(POINTS, code)
    assert torch.equal(decoded[:, 4], coarse + squareness(sides) * step)
    assert torch.equal(decoded[:, 2:4], sides)

"""Midpoint offsets: numbers worked by hand, round trips, rectangles from parallelograms, odd boxes."""

import math

import pytest
import torch
from mmdet.registry import TASK_UTILS

from stn_det.errors import ConfigError, InputError
from stn_det.geometry import rbox_to_hbox, rbox_to_qbox
from stn_det.models import MidpointOffsetCoder
from stn_det.ops import box_iou_rotated

ANCHOR = torch.tensor([[10.0, 20.0, 50.0, 40.0]])  # centre (30, 30), sides 40 and 20


def coder(**options) -> MidpointOffsetCoder:
    """A coder as configs build it."""
    return TASK_UTILS.build(dict(type='MidpointOffsetCoder', **options))


def random_boxes(number: int) -> torch.Tensor:
    """Oriented boxes (number, 5), le90, float64."""
    generator = torch.Generator().manual_seed(1)
    draw = torch.rand((number, 5), generator=generator, dtype=torch.float64)
    centre, long = draw[:, :2] * 100, 10 + draw[:, 2:3] * 60
    return torch.cat([centre, long, long * (0.1 + 0.85 * draw[:, 3:4]), (draw[:, 4:] - 0.5) * math.pi], 1)


def test_numbers_of_a_box_turned_by_45_degrees() -> None:
    # sides 30 and 10 at 45 degrees: the outer box has sides 40 / sqrt 2, its top corner lies 10 / sqrt 2 left of the
    # middle (a quarter of the side), its right corner as much below the middle
    box = torch.tensor([[34.0, 29.0, 30.0, 10.0, math.pi / 4]])
    side = 40 / math.sqrt(2)
    expected = [4 / 40, -1 / 20, math.log(side / 40), math.log(side / 20), -0.25, 0.25]
    torch.testing.assert_close(coder().encode(ANCHOR, box), torch.tensor([expected]))
    turned = torch.tensor([[34.0, 29.0, 30.0, 10.0, -math.pi / 4]])
    expected[4:] = [0.25, -0.25]
    torch.testing.assert_close(coder().encode(ANCHOR, turned), torch.tensor([expected]))


def test_offsets_are_those_of_the_corners() -> None:
    boxes = random_boxes(50)
    outer = rbox_to_hbox(boxes)
    corners = rbox_to_qbox(boxes).unflatten(1, (4, 2))
    top = corners[range(50), corners[..., 1].argmin(1), 0]
    right = corners[range(50), corners[..., 0].argmax(1), 1]
    code = coder().encode(ANCHOR.double().expand(50, 4), boxes)
    torch.testing.assert_close(code[:, 4], (top - boxes[:, 0]) / (outer[:, 2] - outer[:, 0]))
    torch.testing.assert_close(code[:, 5], (right - boxes[:, 1]) / (outer[:, 3] - outer[:, 1]))


def test_round_trip() -> None:
    boxes, options = random_boxes(300), dict(target_means=[0.1] * 6, target_stds=[1, 1, 1, 1, 0.5, 0.5])
    boxes = boxes[(2 * boxes[:, 4]).sin().abs() > 0.05]  # the others may count as upright
    anchors = ANCHOR.double().expand(len(boxes), 4)
    decoded = coder(**options).decode(anchors, coder(**options).encode(anchors, boxes))
    torch.testing.assert_close(decoded, boxes, atol=1e-9, rtol=0)


@pytest.mark.parametrize(('theta', 'sides'), [(0.0, (30, 10)), (-math.pi / 2, (30, 10)), (1e-7, (30, 10)), (0, (8, 8))])
def test_upright_boxes_are_their_own_corners(theta: float, sides: tuple[float, float]) -> None:
    box = torch.tensor([[30.0, 30.0, *sides, theta]])
    code = coder().encode(ANCHOR, box)
    assert code[0, 4:].tolist() == pytest.approx([0.5, 0.5], abs=1e-5)
    assert box_iou_rotated(coder().decode(ANCHOR, code), box, aligned=True) > 0.9999


@pytest.mark.parametrize('theta', [0.003, -0.003, math.pi / 2 - 0.003, 0.003 - math.pi / 2])
def test_noise_of_a_label_does_not_flip_the_signs(theta: float) -> None:
    box = torch.tensor([[30.0, 30.0, 30.0, 10.0, theta]])  # a corner 0.09 pixels off
    code = coder().encode(ANCHOR, box)
    assert code[0, 4:].tolist() == pytest.approx([0.5, 0.5], abs=1e-6)
    assert box_iou_rotated(coder().decode(ANCHOR, code), box, aligned=True) > 0.98


def test_a_parallelogram_becomes_the_rectangle_with_its_longer_diagonal() -> None:
    # top corner at (0, -10) and right corner at (20, 0) from the centre: diagonals of 20 and 40 pixels, perpendicular
    code = torch.zeros((1, 6))
    box = coder().decode(ANCHOR, code)
    side = 20 * math.sqrt(2)
    torch.testing.assert_close(box[0, :4], torch.tensor([30.0, 30.0, side, side]))
    assert abs(box[0, 4].item()) == pytest.approx(math.pi / 4, abs=1e-5)


def test_offsets_beyond_the_outer_box_count_as_its_corners() -> None:
    code = torch.zeros((2, 6))
    code[:, 4:] = torch.tensor([[3.0, 3.0], [0.5, 0.5]])
    first, second = coder().decode(ANCHOR.expand(2, 4), code)
    assert torch.equal(first, second)


def test_a_collapsed_parallelogram_has_no_area_and_finite_gradients() -> None:
    code = torch.tensor([[0.0, 0, 0, 0, -0.5, 0.5], [0, 0, 0, 0, 0.5, -0.5]], requires_grad=True)  # one diagonal twice
    boxes = coder().decode(ANCHOR.expand(2, 4), code)
    assert boxes[:, 3].tolist() == pytest.approx([0, 0], abs=1e-5)
    boxes.sum().backward()
    assert torch.isfinite(code.grad).all()


def test_gradients_agree_with_finite_differences() -> None:
    code = torch.tensor([[0.1, -0.2, 0.3, -0.1, 0.2, -0.3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: coder().decode(ANCHOR.double(), c), code)


def test_extreme_boxes_and_codes_stay_finite() -> None:
    boxes = torch.tensor([[0.0, 0, 0, 0, 0], [1e6, -1e6, 1e5, 1e-4, 1.0], [5, 5, 1e-9, 1e-9, -1.5]])
    code = coder().encode(ANCHOR.expand(3, 4), boxes)
    assert torch.isfinite(code).all()
    wild = torch.tensor([[1e4, -1e4, 1e3, 1e3, 50.0, -50.0]]).to(torch.bfloat16)
    assert torch.isfinite(coder().decode(ANCHOR, wild)).all()
    assert coder().decode(ANCHOR, wild).dtype == torch.float32


def test_no_boxes() -> None:
    assert coder().encode(torch.zeros(0, 4), torch.zeros(0, 5)).shape == (0, 6)
    assert coder().decode(torch.zeros(0, 4), torch.zeros(0, 6)).shape == (0, 5)


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (dict(target_means=[0] * 5), 'target_means is .* expected six numbers'),
        (dict(target_stds=[1, 1, 1, 1, 0, 1]), 'deviations above 0'),
        (dict(angle_version='oc'), "angle_version is 'oc'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        coder(**options)


def test_other_boxes_are_refused() -> None:
    with pytest.raises(InputError, match=r'gt_bboxes has shape \(1, 4\), expected \(..., 5\)'):
        coder().encode(ANCHOR, ANCHOR)
    with pytest.raises(InputError, match=r'pred_bboxes has shape \(1, 5\), expected \(..., 6\)'):
        coder().decode(ANCHOR, torch.zeros(1, 5))

"""GIoU of rotated boxes against an exact hull."""

import math

import pytest
import torch

from stn_det.errors import InputError
from stn_det.ops import box_iou_rotated, rotated_iou_giou

pytestmark = pytest.mark.usefixtures('implementation')


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def test_two_distant_unit_squares() -> None:
    iou, giou = rotated_iou_giou(row(0, 0, 1, 1, 0), row(4, 0, 1, 1, 0))
    assert iou.item() == 0
    assert giou.item() == pytest.approx(-(5 - 2) / 5)


def test_turned_squares_use_the_hull_and_not_a_bounding_box() -> None:
    diamond = row(0, 0, math.sqrt(2), math.sqrt(2), math.pi / 4)
    other = row(4, 0, math.sqrt(2), math.sqrt(2), math.pi / 4)
    hull = 4 * 2 + 2  # a 4 x 2 middle and two half diamonds of area 1
    assert rotated_iou_giou(diamond, other)[1].item() == pytest.approx(-(hull - 4) / hull)


def test_identical_boxes_have_giou_one() -> None:
    box = row(100, 50, 30, 7, 0.4)
    iou, giou = rotated_iou_giou(box, box)
    assert iou.item() == pytest.approx(1, abs=1e-12)
    assert giou.item() == pytest.approx(1, abs=1e-12)


def test_matches_an_exact_hull_and_the_iou_operator(oracle) -> None:
    first, second = oracle.random_rboxes(300), oracle.random_rboxes(300, seed=1)
    second[:100] = first[:100] + 1e-7 * torch.randn(100, 5, dtype=torch.float64)
    second[100:150, 4] = first[100:150, 4]
    iou, giou = rotated_iou_giou(first, second)
    hull = torch.tensor(
        [
            oracle.hull_area(oracle.rbox_corners(p) + oracle.rbox_corners(q))
            for p, q in zip(first.tolist(), second.tolist())
        ],
        dtype=torch.float64,
    )
    union = (first[:, 2] * first[:, 3] + second[:, 2] * second[:, 3]) / (1 + iou)
    torch.testing.assert_close(iou, box_iou_rotated(first, second, aligned=True), atol=1e-14, rtol=0)
    torch.testing.assert_close(giou, iou - (hull - union) / hull, atol=1e-10, rtol=0)


def test_range_and_order_in_float32(oracle) -> None:
    first, second = oracle.random_rboxes(2000).float(), oracle.random_rboxes(2000, seed=1).float()
    iou, giou = rotated_iou_giou(first, second)
    back = rotated_iou_giou(second, first)[1]
    assert (giou <= iou).all()
    assert (giou >= -1).all()
    torch.testing.assert_close(giou, back, atol=2e-5, rtol=0)


def test_gradcheck(oracle) -> None:
    first = oracle.random_rboxes(20, extent=40).requires_grad_()
    second = oracle.random_rboxes(20, seed=1, extent=40).requires_grad_()
    assert torch.autograd.gradcheck(rotated_iou_giou, (first, second))


def test_gradient_pulls_distant_boxes_together() -> None:
    box = row(0, 0, 4, 2, 0.3).requires_grad_()
    rotated_iou_giou(box, row(20, 5, 4, 2, 0.1))[1].sum().backward()
    assert box.grad[0, 0] > 0
    assert box.grad[0, 1] > 0


@pytest.mark.parametrize(
    ('box', 'expected'),
    [((0, 0, 0, 2, 0), 0.0), ((0, 0, -1, 2, 0), 0.0), ((math.nan, 0, 2, 2, 0), -1.0), ((0, 0, math.inf, 2, 0), -1.0)],
)
def test_degenerate_boxes(box, expected: float) -> None:
    first, second = row(*box).requires_grad_(), row(0, 0, 4, 2, 0).requires_grad_()
    iou, giou = rotated_iou_giou(first, second)
    giou.sum().backward()
    assert iou.item() == 0
    assert giou.item() == pytest.approx(expected, abs=1e-12)
    assert first.grad.isfinite().all()
    assert second.grad.isfinite().all()


def test_two_points_at_one_place_count_as_apart() -> None:
    point = row(3, 3, 0, 0, 0).requires_grad_()
    iou, giou = rotated_iou_giou(point, point.detach())
    giou.sum().backward()
    assert (iou.item(), giou.item()) == (0, -1)
    assert point.grad.isfinite().all()


def test_empty_half_and_errors() -> None:
    assert [value.shape for value in rotated_iou_giou(torch.zeros(0, 5), torch.zeros(0, 5))] == [(0,), (0,)]
    boxes = torch.tensor([[3, 3, 4, 2, 0.5]], dtype=torch.bfloat16)
    assert [value.dtype for value in rotated_iou_giou(boxes, boxes)] == [torch.float32, torch.float32]
    with pytest.raises(InputError, match='boxes1 has 1 rows and boxes2 has 2'):
        rotated_iou_giou(torch.zeros(1, 5), torch.zeros(2, 5))

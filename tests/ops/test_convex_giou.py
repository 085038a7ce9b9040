"""IoU and GIoU of hulls against a raster, the rotated operator and finite differences."""

import math

import pytest
import torch
from torch import Tensor

from stn_det.errors import InputError
from stn_det.geometry import rbox_to_qbox
from stn_det.ops import convex_giou, quadri_iou, rotated_iou_giou
from stn_det.ops.convex_giou import hull_order


def random_points(pairs: int, count: int, seed: int) -> Tensor:
    """Sets (pairs, 2 * count) of points in a field of 40 x 40 pixels, float64."""
    generator = torch.Generator().manual_seed(seed)
    return 100 + 40 * torch.rand((pairs, 2 * count), generator=generator, dtype=torch.float64)


def in_hull(points: Tensor, grid: Tensor) -> Tensor:
    """Which points of a grid (G, 2) lie in the hull of points (K, 2): on one side of each edge of the hull, found by
    trying all pairs of points: (G,) bool."""
    inside = torch.ones(len(grid), dtype=torch.bool)
    for a in points:
        for b in points:
            side = lambda p: (b - a)[0] * (p - a)[..., 1] - (b - a)[1] * (p - a)[..., 0]  # noqa: B023, E731
            if (a != b).any() and (side(points) >= -1e-9).all():
                inside &= side(grid) >= 0
    return inside


@pytest.mark.parametrize('count', [3, 4, 9])
def test_equals_a_raster(count: int) -> None:
    points, quads = random_points(8, count, count), random_points(8, 4, 20 + count)
    axis = torch.linspace(100, 140, 401, dtype=torch.float64)[:-1] + 0.05
    grid = torch.cartesian_prod(axis, axis)
    iou, giou = convex_giou(points, quads)
    for k in range(8):
        first, second = points[k].view(-1, 2), quads[k].view(-1, 2)
        a, b, c = in_hull(first, grid), in_hull(second, grid), in_hull(torch.cat([first, second]), grid)
        both, either = (a & b).sum().item(), (a | b).sum().item()
        assert iou[k].item() == pytest.approx(both / either, abs=0.01)
        assert giou[k].item() == pytest.approx(both / either - (c.sum().item() - either) / c.sum().item(), abs=0.01)


def test_rectangles_equal_the_operators_on_boxes() -> None:
    u = torch.rand((60, 5), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    boxes = torch.tensor([300.0, 300, 5, 5, -1.5]) + u * torch.tensor([60.0, 60, 60, 60, 3])
    first, second = rbox_to_qbox(boxes[:30]), rbox_to_qbox(boxes[30:])
    iou, giou = convex_giou(first, second)
    expected = rotated_iou_giou(boxes[:30], boxes[30:])
    torch.testing.assert_close(iou, expected[0], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(giou, expected[1], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(iou, quadri_iou(first, second, aligned=True), rtol=1e-8, atol=1e-8)


def test_order_of_points_and_points_inside_change_nothing() -> None:
    quads, targets = random_points(20, 4, 5), random_points(20, 4, 6)
    corners = quads.view(20, 4, 2)
    inside = corners.mean(1, keepdim=True).expand(-1, 5, -1)
    more = torch.cat([corners, inside, corners[:, :2]], 1)[:, torch.randperm(11)].reshape(20, 22)
    for found, expected in zip(convex_giou(more, targets), convex_giou(quads, targets)):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_hull_of_points_on_lines_keeps_the_corners() -> None:
    points = torch.tensor([[0.0, 0], [2, 0], [4, 0], [4, 4], [2, 2], [0, 4], [0, 0], [0, 2], [4, 2]])
    order = hull_order(points[:, :1], points[:, 1:])[:, 0]
    hull = {tuple(points[i].tolist()) for i in order}
    assert {(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)} <= hull
    assert (2.0, 2.0) not in hull


@pytest.mark.parametrize('count', [4, 9])
def test_gradcheck_of_both_results(count: int) -> None:
    points, quads = random_points(6, count, 30 + count), random_points(6, 4, 40 + count)
    quads[3:] += 100  # half of the pairs do not meet: GIoU alone has a gradient
    points.requires_grad_()
    quads.requires_grad_()
    assert torch.autograd.gradcheck(convex_giou, (points, quads), eps=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(convex_giou(points, quads)[1].sum(), points)
    assert (gradient.abs().amax(1) > 1e-5).all()


def test_common_shift_turn_and_scale_change_nothing() -> None:
    points, quads = random_points(20, 6, 7), random_points(20, 4, 8)
    turn = 9 * torch.tensor([[math.cos(1), -math.sin(1)], [math.sin(1), math.cos(1)]], dtype=torch.float64)
    moved = [(rows.view(20, -1, 2) @ turn.T + 77).reshape(20, -1) for rows in (points, quads)]
    for found, expected in zip(convex_giou(*moved), convex_giou(points, quads)):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_odd_sets_are_finite() -> None:
    square = [0.0, 0, 10, 0, 10, 10, 0, 10]
    rows = {
        'point': [5.0, 5] * 4,
        'segment': [0.0, 0, 10, 10, 10, 10, 0, 0],
        'huge': [-1e5, -1e5, 1e5, -1e5, 1e5, 1e5, -1e5, 1e5],
        'far': [1e5 + x for x in square],
        'coincident': square,
        'nan': [math.nan] * 8,
        'infinite': [math.inf] * 8,
    }
    points = torch.tensor(list(rows.values()), requires_grad=True)
    iou, giou = convex_giou(points, torch.tensor([square]).repeat(len(rows), 1))
    (iou + giou).sum().backward()
    assert torch.isfinite(points.grad).all()
    found = {name: (round(a, 5), round(b, 5)) for name, a, b in zip(rows, iou.tolist(), giou.tolist())}
    assert found == {
        'point': (0, 0),
        'segment': (0, 0),
        'huge': (0, 0),
        'far': (0, -0.9999),  # 200 square pixels in a hull of some 2 million
        'coincident': (1, 1),
        'nan': (0, -1),
        'infinite': (0, -1),
    }
    nothing = convex_giou(torch.ones(1, 8), torch.ones(1, 8))
    assert [value.item() for value in nothing] == [0, -1]


def test_huge_coordinates_keep_the_overlap() -> None:
    points, quads = random_points(20, 4, 9).float(), random_points(20, 4, 10).float()
    far = convex_giou(points + 1e5, quads + 1e5)[1]
    near = convex_giou((points + 1e5).double(), (quads + 1e5).double())[1]
    torch.testing.assert_close(far.double(), near, rtol=0, atol=1e-4)


def test_half_precision_and_empty_sets() -> None:
    half = convex_giou(torch.tensor([[0.0, 0, 4, 0, 4, 4]]).bfloat16(), torch.tensor([[0.0, 0, 4, 0, 4, 4, 0, 4]]))
    assert [value.dtype for value in half] == [torch.float32] * 2
    assert half[0].item() == pytest.approx(0.5)
    empty = torch.zeros((0, 18), requires_grad=True)
    iou, giou = convex_giou(empty, torch.zeros(0, 8))
    (iou.sum() + giou.sum()).backward()
    assert iou.shape == giou.shape == (0,)


def test_bad_inputs_are_refused() -> None:
    quads = torch.zeros(2, 8)
    with pytest.raises(InputError, match=r'points has shape \(2, 7\), expected \(M, 2K\)'):
        convex_giou(torch.zeros(2, 7), quads)
    with pytest.raises(InputError, match=r'points has shape \(2, 4\), expected \(M, 2K\).* K >= 3'):
        convex_giou(torch.zeros(2, 4), quads)
    with pytest.raises(InputError, match=r'quads has shape \(2, 10\), expected \(M, 8\)'):
        convex_giou(quads, torch.zeros(2, 10))
    with pytest.raises(InputError, match='points has 2 rows and quads has 3'):
        convex_giou(quads, torch.zeros(3, 8))

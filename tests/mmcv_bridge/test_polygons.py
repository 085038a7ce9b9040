"""Point sets and polygons through mmcv's public wrappers, against values known by construction."""

import math

import mmcv.ops
import pytest
import torch
from torch import Tensor

from stn_det.errors import MissingOperatorError
from stn_det.mmcv_bridge.hull import clip_area, hull_order, shoelace

SQUARE = torch.tensor([[0.0, 0, 4, 0, 4, 4, 0, 4]])


def point_set(corners: list[tuple[float, float]]) -> Tensor:
    """Nine points (1, 18): the corners, then points within them."""
    points = torch.tensor(corners, dtype=torch.float32)
    inner = torch.rand(9 - len(points), len(points)).softmax(1) @ points
    return torch.cat([points, inner])[torch.randperm(9)].view(1, 18)


def turned(points: Tensor, angle: float) -> Tensor:
    """Points (N, 2 * P) turned around the origin and moved."""
    rotation = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return (points.view(len(points), -1, 2) @ rotation.T + torch.tensor([30.0, 50.0])).flatten(1)


@pytest.mark.parametrize('angle', [0.0, 0.3, 1.9])
@pytest.mark.parametrize('reverse', [False, True])
def test_convex_iou_known_values(angle: float, reverse: bool) -> None:
    points = torch.cat([point_set([(0, 0), (4, 0), (4, 4), (0, 4)]), point_set([(2, 2), (6, 2), (6, 6), (2, 6)])])
    concave = torch.tensor([[0.0, 0, 4, 0, 1, 1, 0, 4]])  # area 4, all of it within the square
    far = SQUARE + 100
    quads = torch.cat([SQUARE, concave, far])
    if reverse:
        quads = quads.view(3, 4, 2).flip(1).flatten(1)
    overlap = mmcv.ops.convex_iou(turned(points, angle), turned(quads, angle))
    expected = torch.tensor([[1.0, 4 / 16, 0], [4 / 28, 0, 0]])
    torch.testing.assert_close(overlap, expected, atol=1e-5, rtol=1e-5)


def test_convex_giou_value_and_gradient() -> None:
    points = torch.cat(
        [point_set([(1, 1), (5, 2), (4.2, 6), (-0.5, 5.3)]), point_set([(9, 1), (12, 2), (10, 6), (8, 5)])]
    )
    quads = SQUARE.repeat(2, 1)
    giou, grad = mmcv.ops.convex_giou(points.double(), quads.double())
    hull = torch.tensor([[9.0, 1], [12, 2], [10, 6], [8, 5]])
    enclosing = torch.tensor([[0.0, 0], [4, 0], [9, 1], [12, 2], [10, 6], [0, 4]])
    union = 16 + shoelace(hull)
    torch.testing.assert_close(giou[1].float(), union / shoelace(enclosing) - 1)
    step = 1e-4 * torch.randn(2, 18, dtype=torch.float64)
    up, down = (mmcv.ops.convex_giou(points.double() + s * step, quads.double())[0] for s in (0.5, -0.5))
    torch.testing.assert_close((grad * step).sum(1), up - down, atol=1e-8, rtol=1e-3)


def test_giou_gradient_leaves_inner_points_alone() -> None:
    points = torch.tensor([[0.0, 0], [4, 0], [4, 4], [0, 4], [2, 2], [1, 2], [3, 1], [2, 3], [1, 1]]).view(1, 18)
    _, grad = mmcv.ops.convex_giou(points, SQUARE + 1)
    assert not grad[0, 8:].any()
    assert grad[0, :8].abs().sum() > 0


@pytest.mark.parametrize('angle', [0.0, 0.4, 1.2, 2.5, -0.9])
def test_smallest_rectangle_is_found(angle: float) -> None:
    corners = torch.tensor([[-5.0, -2.0], [5.0, -2.0], [5.0, 2.0], [-5.0, 2.0]])
    points = turned(point_set([tuple(c) for c in corners.tolist()]), angle)
    rectangle = mmcv.ops.min_area_polygons(points).view(4, 2)
    expected = turned(corners.view(1, 8), angle).view(4, 2)
    distance = torch.cdist(rectangle, expected)
    assert bool((distance.amin(0) < 1e-3).all())
    torch.testing.assert_close(shoelace(rectangle[None]).abs(), torch.tensor([40.0]))


def test_smallest_rectangle_encloses_and_is_no_larger_than_the_upright_one() -> None:
    points = torch.randn(50, 18)
    rectangles = mmcv.ops.min_area_polygons(points).view(50, 4, 2)
    cloud = points.view(50, 9, 2)
    area = shoelace(rectangles).abs()
    assert bool((area <= (cloud.amax(1) - cloud.amin(1)).prod(1) + 1e-4).all())
    centre, axis = rectangles.mean(1, keepdim=True), rectangles[:, 1:3] - rectangles[:, 0:2]
    along = torch.einsum('npx,nax->npa', cloud - centre, axis) / axis.square().sum(-1)[:, None]
    assert bool((along.abs() <= 0.5 + 1e-4).all())


def test_points_in_polygons() -> None:
    polygons = torch.cat([SQUARE, SQUARE + 2, torch.tensor([[0.0, 0, 4, 0, 1, 1, 0, 4]])])
    points = torch.tensor([[1.0, 0.5], [3.0, 3.0], [5.0, 5.0], [9.0, 1.0], [math.nan, 1.0]])
    inside = mmcv.ops.points_in_polygons(points, polygons)
    assert inside.tolist() == [[1, 0, 1], [1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_differentiable_rotated_iou() -> None:
    size = torch.rand(1, 200, 2) * 20 + 4
    first = torch.cat([torch.rand(1, 200, 2) * 20, size, torch.rand(1, 200, 1) * 6 - 3], 2)
    second = torch.cat([torch.rand(1, 200, 2) * 20, size.flip(1), torch.rand(1, 200, 1) * 6 - 3], 2)
    expected = mmcv.ops.box_iou_rotated(first[0], second[0], aligned=True)
    first.requires_grad_()
    overlap = mmcv.ops.diff_iou_rotated_2d(first, second)
    torch.testing.assert_close(overlap[0], expected, atol=1e-4, rtol=1e-4)
    overlap.sum().backward()
    assert bool(torch.isfinite(first.grad).all())


@pytest.mark.parametrize('width', [4.0, 6.0], ids=['equal', 'shared sides'])
def test_differentiable_rotated_iou_of_boxes_with_common_corners(width: float) -> None:
    first = torch.tensor([[[5.0, 5.0, 4.0, 2.0, 0.0]]])
    second = torch.tensor([[[5.0 + (width - 4) / 2, 5.0, width, 2.0, 0.0]]])
    torch.testing.assert_close(mmcv.ops.diff_iou_rotated_2d(first, second), torch.tensor([[4 / width]]))


def test_hull_passes_over_repeated_points_and_points_within_a_side() -> None:
    points = torch.tensor([[[0.0, 0], [2, 0], [4, 0], [4, 0], [4, 4], [2, 2], [0, 4], [0, 2], [0, 0]]]).double()
    order = hull_order(points)[0].tolist()
    corners = [tuple(points[0, i].tolist()) for i in order]
    assert corners[:4] == [(0, 0), (4, 0), (4, 4), (0, 4)]
    assert set(corners[4:]) == {(0, 0)}


@pytest.mark.parametrize(
    'points',
    [torch.zeros(1, 9, 2), torch.arange(18.0).view(1, 9, 2), torch.full((1, 9, 2), math.nan)],
    ids=['one point', 'a line', 'not a number'],
)
def test_degenerate_point_sets_have_no_area(points: Tensor) -> None:
    points = points.double()
    hull = points.gather(1, hull_order(points)[..., None].expand(-1, -1, 2))
    window = SQUARE.view(1, 4, 2).double()
    assert not clip_area(hull, window).nan_to_num(0).any()
    assert not mmcv.ops.convex_iou(points.flatten(1), SQUARE.double()).any()


def test_an_operator_that_nobody_provides_says_so() -> None:
    message = r"operator 'psamask_forward' is not available.*install an mmcv compiled"
    with pytest.raises(MissingOperatorError, match=message):
        mmcv.ops.PSAMask('collect', (3, 3))(torch.randn(1, 9, 4, 4))

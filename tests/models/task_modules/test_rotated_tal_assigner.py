"""Task-aligned assignment on rotated boxes."""

import math

import pytest
import torch
from torch import Tensor

from stn_det.errors import ConfigError
from stn_det.models import RotatedTaskAlignedAssigner

NOTHING = torch.zeros((0, 5))


def grid(size: int = 64, stride: int = 8) -> Tensor:
    """Points (x, y, stride) of one level, row by row."""
    axis = (torch.arange(size // stride) + 0.5) * stride
    y, x = torch.meshgrid(axis, axis, indexing='ij')
    return torch.stack([x.flatten(), y.flatten(), torch.full_like(x.flatten(), stride)], -1)


def assign(boxes: Tensor, pred: Tensor | None = None, scores: Tensor | None = None, ignore: Tensor = NOTHING, **kwargs):
    """Assignment with predictions that default to 16-pixel squares at the points and score 0.5."""
    points = grid()
    if pred is None:
        pred = torch.cat([points[:, :2], torch.full((len(points), 2), 16.0), torch.zeros(len(points), 1)], 1)
    if scores is None:
        scores = torch.full((len(points), 3), 0.5)
    labels = torch.zeros(len(boxes), dtype=torch.long)
    return points, RotatedTaskAlignedAssigner(**kwargs).assign(points, pred, scores, boxes, labels, ignore)


def test_positives_lie_inside_the_rotated_box() -> None:
    box = torch.tensor([[32.0, 32.0, 60.0, 18.0, math.pi / 4]])
    points, found = assign(box, topk=100)
    positive = points[found.box_index == 0]
    assert len(positive) > 5
    across = ((positive[:, 1] - 32) - (positive[:, 0] - 32)).abs() / math.sqrt(2)
    assert across.max() <= 9 + 1e-4


def test_best_point_is_asked_for_its_iou_and_topk_holds() -> None:
    box = torch.tensor([[28.0, 28.0, 32.0, 32.0, 0.0]])
    _, found = assign(box, topk=4)
    assert (found.box_index == 0).sum() == 4
    # a 16-pixel square inside a 32-pixel one
    assert found.quality.max().item() == pytest.approx(0.25, abs=1e-5)


def test_small_box_between_points_keeps_a_positive() -> None:
    _, found = assign(torch.tensor([[16.0, 16.0, 2.0, 2.0, 0.3]]))
    assert (found.box_index == 0).any()


def test_contested_point_goes_to_the_larger_overlap() -> None:
    boxes = torch.tensor([[28.0, 28.0, 40.0, 40.0, 0.0], [28.0, 28.0, 16.0, 16.0, 0.0]])
    points, found = assign(boxes, topk=100)
    centre = ((points[:, 0] == 28) & (points[:, 1] == 28)).nonzero().item()
    assert found.box_index[centre] == 1


def test_no_overlap_yet_picks_the_nearest_points() -> None:
    points = grid()
    far = torch.tensor([[1e4, 1e4, 8.0, 8.0, 0.0]]).repeat(len(points), 1)
    _, found = assign(torch.tensor([[28.0, 28.0, 30.0, 30.0, 0.0]]), pred=far, topk=1)
    assert points[found.box_index == 0][:, :2].tolist() == [[28.0, 28.0]]
    assert found.quality.sum() == 0


def test_ignored_region_bears_no_loss_unless_positive() -> None:
    region = torch.tensor([[32.0, 32.0, 40.0, 40.0, 0.0]])
    points, found = assign(NOTHING, ignore=region)
    inside = (points[:, :2] - 32).abs().amax(1) <= 20
    assert torch.equal(found.ignored, inside)
    _, found = assign(torch.tensor([[28.0, 28.0, 16.0, 16.0, 0.0]]), ignore=region)
    assert not found.ignored[found.box_index >= 0].any()


def test_small_ignored_object_covers_the_points_that_it_would_have_as_an_object() -> None:
    box = torch.tensor([[30.0, 31.0, 3.0, 3.0, 0.3]])
    _, as_object = assign(box, topk=100)
    _, as_ignored = assign(NOTHING, ignore=box)
    assert as_ignored.ignored.any()
    assert torch.equal(as_ignored.ignored, as_object.box_index == 0)


def test_a_hardly_overlapped_object_is_still_asked_for_its_iou() -> None:
    scores = torch.full((64, 3), 0.01)
    _, found = assign(torch.tensor([[32.0, 32.0, 300.0, 200.0, 0.0]]), scores=scores)
    # a 16-pixel square inside 300 x 200 pixels: 0.01 * IoU ** 6 is 6e-17
    assert found.quality.max().item() == pytest.approx(256 / 60000, rel=1e-3)


def test_image_without_objects() -> None:
    _, found = assign(NOTHING)
    assert (found.box_index == -1).all()
    assert found.quality.sum() == 0


def test_order_of_boxes_does_not_matter() -> None:
    boxes = torch.rand(600, 5) * torch.tensor([64.0, 64, 20, 20, 3]) + torch.tensor([0.0, 0, 2, 2, -1.5])
    order = torch.randperm(600)
    _, one = assign(boxes)
    _, two = assign(boxes[order])
    same = (one.box_index < 0) == (two.box_index < 0)
    assert same.all()
    torch.testing.assert_close(one.quality, two.quality, rtol=1e-4, atol=1e-5)


def test_topk_must_be_positive() -> None:
    with pytest.raises(ConfigError, match='topk is 0; expected at least 1'):
        RotatedTaskAlignedAssigner(topk=0)

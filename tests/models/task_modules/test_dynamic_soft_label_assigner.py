"""Dynamic soft label assignment on rotated boxes."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from stn_det.errors import ConfigError
from stn_det.geometry import canonicalize_rboxes, points_in_rboxes, rotation_matrix, transform_points, transform_rboxes
from stn_det.models import RotatedDynamicSoftLabelAssigner
from stn_det.models.task_modules import point_assignment
from stn_det.ops import box_iou_rotated

NOTHING = torch.zeros((0, 5))


def grid(size: int = 64, strides: tuple[int, ...] = (8,)) -> Tensor:
    """Points (x, y, stride) of some levels, row by row."""
    levels = []
    for stride in strides:
        axis = (torch.arange(size // stride) + 0.5) * stride
        y, x = torch.meshgrid(axis, axis, indexing='ij')
        levels.append(torch.stack([x.flatten(), y.flatten(), torch.full_like(x.flatten(), stride)], -1))
    return torch.cat(levels)


def squares(points: Tensor, side: float = 16.0) -> Tensor:
    """Upright squares at the points."""
    rest = torch.tensor([side, side, 0.0], dtype=points.dtype).expand(len(points), 3)
    return torch.cat([points[:, :2], rest], 1)


def brute_force(
    points: Tensor, pred: Tensor, scores: Tensor, boxes: Tensor, labels: Tensor, topk: int
) -> tuple[Tensor, Tensor]:
    """The same assignment from full (P, M) and (P, M, C) tensors, box by box; float64."""
    wide = torch.cat([boxes[:, :2], boxes[:, 2:4].clamp(min=2 * float(points[:, 2].min())), boxes[:, 4:]], 1)
    inside = points_in_rboxes(points[:, :2], wide)  # (P, M)
    iou = box_iou_rotated(pred, boxes) * inside
    target = F.one_hot(labels, scores.shape[1]) * iou[..., None]  # (P, M, C)
    entropy = F.binary_cross_entropy(scores[:, None].expand_as(target), target, reduction='none')
    cost = (entropy * (scores[:, None] - target) ** 2).sum(-1) - 3 * iou.clamp(min=1e-7).log()
    cost += 10 ** (torch.cdist(points[:, :2], boxes[:, :2]) / points[:, 2:] - 3)
    cost[~inside] = math.inf
    wanted = torch.full_like(cost, math.inf)
    for box in range(len(boxes)):
        allowed = max(1, int(iou[:, box].sort(descending=True)[0][:topk].sum()))
        best = cost[:, box].argsort()[:allowed]
        wanted[best, box] = cost[best, box]
    least, box_index = wanted.min(1)
    box_index[least == math.inf] = -1
    quality = torch.where(box_index >= 0, iou.gather(1, box_index.clamp(min=0)[:, None])[:, 0], 0.0)
    return box_index, quality


def random_case(seed: int, num_boxes: int, num_classes: int = 4) -> tuple[Tensor, ...]:
    """Points of three levels, predictions near random boxes, scores, boxes and labels; float64."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    points = grid(96, (8, 16, 32)).double()
    low, span = torch.tensor([0, 0, 3, 3, -1.5]).double(), torch.tensor([96, 96, 60, 40, 3]).double()
    boxes = canonicalize_rboxes(low + rand(num_boxes, 5) * span)
    near = boxes[torch.randint(num_boxes, (len(points),), generator=generator)]
    pred = near * (0.8 + 0.4 * rand(len(points), 5))
    pred[:, :2] = 0.7 * points[:, :2] + 0.3 * near[:, :2]
    labels = torch.randint(num_classes, (num_boxes,), generator=generator)
    return points, pred, rand(len(points), num_classes), boxes, labels


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize('topk', [3, 13])
def test_equals_the_computation_on_full_tensors(seed: int, topk: int) -> None:
    case = random_case(seed, num_boxes=1 + 2 * seed)
    found = RotatedDynamicSoftLabelAssigner(topk=topk).assign(*case, NOTHING.double())
    box_index, quality = brute_force(*case, topk)
    assert torch.equal(found.box_index, box_index)
    torch.testing.assert_close(found.quality, quality)
    assert (box_index >= 0).sum() > 0


def test_random_cases_hold_conflicts_and_several_points_a_box() -> None:
    # else the comparison above would show little
    points, pred, scores, boxes, labels = random_case(9, num_boxes=19)
    alone = [
        RotatedDynamicSoftLabelAssigner().assign(points, pred, scores, boxes[i : i + 1], labels[i : i + 1], NOTHING)
        for i in range(19)
    ]
    wanted = torch.stack([found.box_index == 0 for found in alone])
    assert wanted.sum(0).max() > 1
    assert wanted.sum(1).max() > 2


def test_number_of_points_and_cost_by_hand() -> None:
    # Four points around the centre of a 32-pixel square predict it with IoU 1, 1, 1/4 and 1/4: k = 2. The scores of
    # the two exact ones are poor. Cost of an exact one: its class -log(0.1) * 0.9^2 = 1.87, centre 10^(0.71 - 3).
    # Cost of a small one: class: BCE(0.25, 0.25) * 0 = 0, IoU 3 * log 4 = 4.16. So the exact ones are taken.
    points = grid()
    box = torch.tensor([[32.0, 32.0, 32.0, 32.0, 0.0]])
    pred = torch.tensor([[500.0, 500.0, 1.0, 1.0, 0.0]]).repeat(64, 1)
    near = [27, 28, 35, 36]
    for index, side in zip(near, (32.0, 32.0, 16.0, 16.0)):
        pred[index] = torch.tensor([32.0, 32.0, side, side, 0.0])
    scores = torch.full((64, 2), 0.0)
    scores[near, 1] = torch.tensor([0.1, 0.1, 0.25, 0.25])
    found = RotatedDynamicSoftLabelAssigner().assign(points, pred, scores, box, torch.tensor([1]), NOTHING)
    assert (found.box_index >= 0).nonzero().flatten().tolist() == [27, 28]
    assert found.quality[[27, 28]].tolist() == pytest.approx([1, 1])
    # with a lower weight of the IoU the small ones cost 4.16 / 3 = 1.39 and win
    found = RotatedDynamicSoftLabelAssigner(iou_weight=1.0).assign(
        points, pred, scores, box, torch.tensor([1]), NOTHING
    )
    assert (found.box_index >= 0).nonzero().flatten().tolist() == [35, 36]
    assert found.quality[[35, 36]].tolist() == pytest.approx([0.25, 0.25])


def test_other_classes_count_in_the_cost() -> None:
    # two points alike, but one is sure of another class, too: -log(0.01) * 0.99^2 more
    points = grid()[[27, 28]]
    box = torch.tensor([[32.0, 28.0, 16.0, 16.0, 0.0]])
    scores = torch.tensor([[0.5, 0.99], [0.5, 0.0]])
    pred = squares(torch.tensor([[32.0, 28.0]]), 12.0).repeat(2, 1)  # IoU 0.5625 each: k = 1
    found = RotatedDynamicSoftLabelAssigner().assign(points, pred, scores, box, torch.tensor([0]), NOTHING)
    assert found.box_index.tolist() == [-1, 0]


def test_contested_point_goes_to_the_box_it_costs_least_for() -> None:
    points = grid()
    boxes = torch.tensor([[28.0, 28.0, 40.0, 40.0, 0.0], [28.0, 28.0, 16.0, 16.0, 0.0]])
    scores = torch.full((64, 2), 0.3)
    centre = ((points[:, 0] == 28) & (points[:, 1] == 28)).nonzero().item()
    for order in ([0, 1], [1, 0]):
        found = RotatedDynamicSoftLabelAssigner().assign(
            points, squares(points), scores, boxes[order], torch.tensor([0, 1])[order], NOTHING
        )
        assert boxes[order][found.box_index[centre], 2] == 16
        assert found.quality[centre].item() == pytest.approx(1.0)


@pytest.mark.parametrize('angle', [0.3, 1.2, math.pi / 2, 2.9])
def test_a_common_rotation_changes_nothing(angle: float) -> None:
    points, pred, scores, boxes, labels = random_case(5, num_boxes=15)
    assigner = RotatedDynamicSoftLabelAssigner()
    one = assigner.assign(points, pred, scores, boxes, labels, boxes[:3])
    turn = rotation_matrix(angle, center=(48, 48)).double()
    turned = torch.cat([transform_points(points[:, :2], turn), points[:, 2:]], 1)
    two = assigner.assign(
        turned, transform_rboxes(pred, turn), scores, transform_rboxes(boxes, turn), labels,
        transform_rboxes(boxes[:3], turn),
    )  # fmt: skip
    assert torch.equal(one.box_index, two.box_index)
    assert torch.equal(one.ignored, two.ignored)
    torch.testing.assert_close(one.quality, two.quality)


def test_positives_lie_inside_the_rotated_box() -> None:
    points = grid()
    box = torch.tensor([[32.0, 32.0, 60.0, 18.0, math.pi / 4]])
    found = RotatedDynamicSoftLabelAssigner().assign(
        points, box.repeat(64, 1), torch.full((64, 1), 0.5), box, torch.tensor([0]), NOTHING
    )
    positive = points[found.box_index == 0]
    assert len(positive) > 5
    across = ((positive[:, 1] - 32) - (positive[:, 0] - 32)).abs() / math.sqrt(2)
    assert across.max() <= 9 + 1e-4


def test_without_overlap_the_nearest_point_is_taken_and_asked_for_nothing() -> None:
    points = grid()
    far = torch.tensor([[1e4, 1e4, 8.0, 8.0, 0.0]]).repeat(64, 1)
    box = torch.tensor([[27.0, 27.5, 30.0, 30.0, 0.0]])
    found = RotatedDynamicSoftLabelAssigner().assign(
        points, far, torch.full((64, 1), 0.5), box, torch.tensor([0]), NOTHING
    )
    assert points[found.box_index == 0][:, :2].tolist() == [[28.0, 28.0]]
    assert found.quality.sum() == 0


def test_small_box_between_points_keeps_one() -> None:
    points = grid()
    box = torch.tensor([[16.0, 16.0, 2.0, 2.0, 0.3]])
    found = RotatedDynamicSoftLabelAssigner().assign(
        points, squares(points), torch.full((64, 1), 0.5), box, torch.tensor([0]), NOTHING
    )
    assert (found.box_index == 0).sum() == 1


def test_ignored_regions_bear_no_loss_unless_positive() -> None:
    points, scores = grid(), torch.full((64, 1), 0.5)
    region = torch.tensor([[32.0, 32.0, 40.0, 40.0, 0.0]])
    assigner = RotatedDynamicSoftLabelAssigner()
    labels = torch.zeros(0, dtype=torch.long)
    found = assigner.assign(points, squares(points), scores, NOTHING, labels, region)
    assert torch.equal(found.ignored, (points[:, :2] - 32).abs().amax(1) <= 20)
    assert (found.box_index == -1).all()
    box = torch.tensor([[28.0, 28.0, 16.0, 16.0, 0.0]])
    found = assigner.assign(points, squares(points), scores, box, torch.tensor([0]), region)
    assert (found.box_index == 0).any()
    assert not found.ignored[found.box_index >= 0].any()


def test_image_without_objects() -> None:
    points = grid()
    labels = torch.zeros(0, dtype=torch.long)
    found = RotatedDynamicSoftLabelAssigner().assign(
        points, squares(points), torch.rand(64, 3), NOTHING, labels, NOTHING
    )
    assert (found.box_index == -1).all()
    assert found.quality.sum() == 0
    assert not found.ignored.any()


def test_extreme_predictions_and_boxes_give_a_finite_assignment() -> None:
    points = grid(64, (8, 16))
    pred = squares(points)
    pred[::3] = torch.tensor([1e30, -1e30, 1e30, 1e-30, 1e10])
    pred[1::3] = torch.tensor([math.inf, math.nan, math.inf, 0.0, math.nan])
    scores = (torch.arange(2 * len(points)).view(-1, 2) % 3 == 0).float()  # sure of everything: 0 and 1
    boxes = torch.tensor(
        [[32.0, 32, 1e6, 1e6, 0.1], [20, 20, 0, 0, 0], [1e7, 0, 9, 9, 0], [4e3, 9, 1e4, 1e-3, 0], [30, 30, 20, 9, 7]]
    )
    found = RotatedDynamicSoftLabelAssigner().assign(points, pred, scores, boxes, torch.arange(5) % 2, NOTHING)
    assert torch.isfinite(found.quality).all()
    assert {1, 4} <= set(found.box_index.tolist())
    assert 2 not in found.box_index  # far outside: no point is inside


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(3, num_boxes=40)
    assigner = RotatedDynamicSoftLabelAssigner()
    whole = assigner.assign(*case, case[3][:20])
    monkeypatch.setattr(point_assignment, 'MAX_PAIRS', 7 * len(case[0]))
    assert [chunk.stop - chunk.start for chunk in point_assignment.box_chunks(40, len(case[0]))] == [7] * 6
    parts = assigner.assign(*case, case[3][:20])
    for one, two in zip(whole, parts):
        assert torch.equal(one, two)


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that is made inside of the context."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            self.elements = max(self.elements, value.numel() if isinstance(value, Tensor) else 0)
        return result


def test_thousands_of_objects_never_make_a_tensor_of_more_than_the_allowed_pairs() -> None:
    points = grid(1024, (8, 16, 32))  # 21,504 points; with 3,000 boxes and 15 classes 10^9 numbers
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand((3000, 5), generator=generator) * torch.tensor([1024, 1024, 30, 20, 3.0])
    boxes[:, 2:4] += 4
    scores = torch.rand((len(points), 15), generator=generator)
    with Largest() as largest:
        found = RotatedDynamicSoftLabelAssigner().assign(
            points, squares(points), scores, boxes, torch.arange(3000) % 15, boxes[:50]
        )
    assert (found.box_index >= 0).sum() > 2000
    assert 0.5 * point_assignment.MAX_PAIRS < largest.elements <= point_assignment.MAX_PAIRS


def test_topk_must_be_positive() -> None:
    with pytest.raises(ConfigError, match='topk is 0; expected at least 1'):
        RotatedDynamicSoftLabelAssigner(topk=0)

"""Matching of a batch: against mmdet's assigner image by image, for odd images, in one copy to the host."""

import math

import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from stn_det.errors import ConfigError, InputError
from stn_det.models.task_modules import BatchHungarianAssigner
from stn_det.structures import RotatedBoxes

COSTS = [dict(type='FocalLossCost', weight=2.0), dict(type='HausdorffCost', weight=5.0)]
MORE_COSTS = [*COSTS, *(dict(type=f'{name}Cost') for name in ('Gaussian', 'Chamfer', 'PeriodicBoxL1', 'RotatedIoU'))]
META = dict(img_shape=(300, 400))


def random_boxes(*size: int) -> Tensor:
    """Boxes (..., 5) in an image of 400 x 300 pixels."""
    scale = torch.tensor([400.0, 300, 60, 40, math.pi])
    return torch.rand(*size, 5) * scale + torch.tensor([0.0, 0, 4, 4, -math.pi / 2])


def truth_of(count: int, classes: int = 3) -> InstanceData:
    """Objects with labels."""
    return InstanceData(bboxes=RotatedBoxes(random_boxes(count)), labels=torch.randint(classes, (count,)))


def assigner(costs: list[dict] | dict = COSTS) -> BatchHungarianAssigner:
    """The assigner as a config builds it."""
    return TASK_UTILS.build(dict(type='BatchHungarianAssigner', match_costs=costs))


# a value read, positions looked for, a tensor made from a list
WAITING = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.lift_fresh)


class Seen(TorchDispatchMode):
    """Notes the operators that wait for the device and the size of the largest result."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in WAITING:
            self.waits.append(str(func))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor):
                self.largest = max(self.largest, tensor.numel())
        return result


def test_known_match() -> None:
    boxes = torch.tensor([[[10.0, 10, 8, 4, 0], [30.0, 30, 8, 4, 1], [50.0, 50, 8, 4, 0]]])
    truth = InstanceData(bboxes=boxes[0, [2, 0]], labels=torch.tensor([0, 0]))
    (match,) = assigner().assign_batch(torch.zeros(1, 3, 1), boxes, [truth], [dict(img_shape=(64, 64))])
    assert match.queries.tolist() == [0, 2]
    assert match.objects.tolist() == [1, 0]


def test_batch_equals_mmdet_image_by_image() -> None:
    truths = [truth_of(4), truth_of(0), truth_of(7)] * 2
    metas = [META, dict(img_shape=(200, 100)), dict(img_shape=(512, 512))] * 2
    scores, boxes = torch.randn(6, 12, 3), random_boxes(6, 12)
    reference = TASK_UTILS.build(dict(type='HungarianAssigner', match_costs=COSTS))
    matches = assigner().assign_batch(scores, boxes, truths, metas)
    for b, (truth, meta, match) in enumerate(zip(truths, metas, matches)):
        prediction = InstanceData(scores=scores[b], bboxes=boxes[b])
        expected = reference.assign(prediction, truth, meta)
        index = torch.zeros(12, dtype=torch.long)
        index[match.queries] = match.objects + 1
        assert index.tolist() == expected.gt_inds.tolist()
        found = assigner().assign(prediction, truth, meta)
        assert found.gt_inds.tolist() == expected.gt_inds.tolist()
        assert found.labels.tolist() == expected.labels.tolist()
        assert found.num_gts == len(truth)


def test_layers_of_one_image_are_compared_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = assigner()
    truths, metas = [truth_of(3), truth_of(2)], [META, META]
    scores, boxes = torch.randn(6, 5, 3), random_boxes(6, 5)
    expected = [
        subject.cost_matrices(scores[b : b + 1], boxes[b : b + 1], [truths[b % 2]], [META])[0] for b in range(6)
    ]
    sizes = []
    single = subject.cost_matrix
    monkeypatch.setattr(subject, 'cost_matrix', lambda p, t, m: sizes.append((len(p), len(t))) or single(p, t, m))
    found = subject.cost_matrices(scores, boxes, truths * 3, metas * 3)
    assert sizes == [(15, 3), (15, 2)]
    for ours, theirs in zip(found, expected):
        torch.testing.assert_close(ours, theirs)


def test_one_copy_to_the_host_for_images_and_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    copy = Tensor.cpu
    monkeypatch.setattr(Tensor, 'cpu', lambda self: copies.append(self.numel()) or copy(self))
    scores, boxes, truths = torch.randn(12, 9, 3), random_boxes(12, 9), [truth_of(4), truth_of(0)] * 6
    with Seen() as seen:
        assigner(MORE_COSTS).assign_batch(scores, boxes, truths, [META, META] * 6)
    assert copies == [6 * 9 * 4]
    assert seen.waits == ['aten.lift_fresh.default']  # the pairs on their way back


def test_many_objects_take_no_more_than_some_matrices() -> None:
    scores, boxes, truth = torch.randn(1, 900, 3), random_boxes(1, 900), truth_of(3000)
    with Seen() as seen:
        (cost,) = assigner(MORE_COSTS[:5]).cost_matrices(scores, boxes, [truth], [META])
    assert cost.shape == (900, 3000)
    assert seen.largest == 900 * 3000


def test_more_objects_than_queries() -> None:
    (match,) = assigner().assign_batch(torch.randn(1, 3, 3), random_boxes(1, 3), [truth_of(8)], [META])
    assert match.queries.tolist() == [0, 1, 2]
    assert len(match.objects.unique()) == 3


@pytest.mark.parametrize(('queries', 'objects'), [(0, 3), (4, 0), (0, 0)])
def test_nothing_to_match(queries: int, objects: int) -> None:
    scores, boxes, truth = torch.randn(2, queries, 3), random_boxes(2, queries), truth_of(objects)
    matches = assigner().assign_batch(scores, boxes, [truth] * 2, [META] * 2)
    assert [len(match.queries) for match in matches] == [0, 0]
    found = assigner().assign(InstanceData(scores=scores[0], bboxes=boxes[0]), truth, META)
    assert found.gt_inds.tolist() == [0] * queries
    assert found.labels.tolist() == [-1] * queries


def test_no_boxes_as_mmdet_writes_them() -> None:
    empty = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    (match,) = assigner().assign_batch(torch.randn(1, 3, 3), random_boxes(1, 3), [empty], [META])
    assert len(match.queries) == 0


@pytest.mark.parametrize('broken', [float('nan'), float('inf'), -float('inf')])
def test_broken_predictions_are_not_chosen(broken: float) -> None:
    truth = truth_of(2)
    boxes = torch.cat([random_boxes(1, 2), truth.bboxes.tensor[None]], 1)
    boxes[0, 0, 0] = broken
    boxes[0, 1, 4] = broken
    (match,) = assigner().assign_batch(torch.zeros(1, 4, 3), boxes, [truth], [META])
    assert match.queries.tolist() == [2, 3]
    assert match.objects.tolist() == [0, 1]
    scores = torch.zeros(1, 4, 3)
    scores[0, 2:] = float('nan')
    (match,) = assigner().assign_batch(scores, random_boxes(1, 4), [truth], [META])
    assert match.queries.tolist() == [0, 1]


def test_autocast_does_not_change_costs() -> None:
    scores, boxes, truth = torch.randn(1, 9, 3), random_boxes(1, 9), truth_of(5)
    (plain,) = assigner().cost_matrices(scores, boxes, [truth], [META])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (found,) = assigner().cost_matrices(scores, boxes, [truth], [META])
    assert torch.equal(found, plain)
    (half,) = assigner().cost_matrices(scores.bfloat16(), boxes.bfloat16(), [truth], [META])
    assert half.dtype == torch.float32


def test_a_single_cost_may_be_given_alone() -> None:
    assert len(assigner(COSTS[0]).match_costs) == 1


def test_bad_inputs_are_refused() -> None:
    scores, boxes, truth = torch.randn(2, 3, 3), random_boxes(2, 3), truth_of(2)
    with pytest.raises(ConfigError, match='match_costs is empty; expected at least one cost'):
        assigner([])
    with pytest.raises(InputError, match=r'truths has length 1, expected 2, .* repeat it for stacked decoder layers'):
        assigner().assign_batch(scores, boxes, [truth], [META] * 2)
    with pytest.raises(InputError, match='img_metas has length 3, expected 2'):
        assigner().assign_batch(scores, boxes, [truth] * 2, [META] * 3)
    with pytest.raises(InputError, match=r'scores has shape \(2, 4, 3\), expected \(2, 3, C\)'):
        assigner().assign_batch(torch.randn(2, 4, 3), boxes, [truth] * 2, [META] * 2)
    with pytest.raises(InputError, match=r'boxes has shape \(3, 5\), expected \(B, Q, D\)'):
        assigner().assign_batch(scores, boxes[0], [truth] * 2, [META] * 2)

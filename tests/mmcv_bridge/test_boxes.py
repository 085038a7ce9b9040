"""Suppression and overlaps through mmcv's public wrappers, against loops written here."""

import math
from collections.abc import Callable

import mmcv.ops
import pytest
import torch
from torch import Tensor

MakeBoxes = Callable[[int], Tensor]


def iou(a: list[float], b: list[float], offset: float = 0) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    shared = max(width, 0) * max(height, 0)
    areas = [(x2 - x1 + offset) * (y2 - y1 + offset) for x1, y1, x2, y2 in (a, b)]
    return shared / (sum(areas) - shared)


def greedy(boxes: Tensor, scores: Tensor, threshold: float, offset: float = 0) -> list[int]:
    kept: list[int] = []
    rows = boxes.tolist()
    for index in sorted(range(len(rows)), key=lambda i: -scores[i].item()):
        if all(iou(rows[index], rows[other], offset) <= threshold for other in kept):
            kept.append(index)
    return kept


def as_quads(boxes: Tensor) -> Tensor:
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack([x1, y1, x2, y1, x2, y2, x1, y2], 1)


def as_rboxes(boxes: Tensor) -> Tensor:
    size = boxes[:, 2:] - boxes[:, :2]
    return torch.cat([boxes[:, :2] + size / 2, size, torch.zeros(len(boxes), 1)], 1)


@pytest.mark.parametrize('offset', [0, 1])
def test_nms(random_boxes: MakeBoxes, offset: int) -> None:
    boxes, scores = random_boxes(60), torch.rand(60)
    dets, index = mmcv.ops.nms(boxes, scores, 0.4, offset=offset)
    assert index.tolist() == greedy(boxes, scores, 0.4, offset)
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[index])


def test_nms_with_score_threshold_limit_and_numpy(random_boxes: MakeBoxes) -> None:
    boxes, scores = random_boxes(60), torch.rand(60)
    expected = [i for i in greedy(boxes, scores, 0.4) if scores[i] > 0.3][:5]
    _, index = mmcv.ops.nms(boxes.numpy(), scores.numpy(), 0.4, score_threshold=0.3, max_num=5)
    assert index.tolist() == expected


@pytest.mark.parametrize('threshold', [1.0, 2.0])
def test_a_threshold_of_one_or_more_keeps_everything(random_boxes: MakeBoxes, threshold: float) -> None:
    boxes = random_boxes(10).repeat(2, 1)
    assert len(mmcv.ops.nms(boxes, torch.rand(20), threshold)[1]) == 20


def test_nms_of_nothing() -> None:
    dets, index = mmcv.ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5)
    assert index.shape == (0,)
    assert index.dtype == torch.int64


@pytest.mark.parametrize('split', [10000, 10], ids=['at once', 'class by class'])
def test_batched_nms_keeps_classes_apart(random_boxes: MakeBoxes, split: int) -> None:
    boxes, scores, labels = random_boxes(60), torch.rand(60), torch.randint(0, 3, (60,))
    kept = []
    for label in range(3):
        member = (labels == label).nonzero()[:, 0]
        kept += [member[i].item() for i in greedy(boxes[member], scores[member], 0.4)]
    kept.sort(key=lambda i: -scores[i].item())
    dets, index = mmcv.ops.batched_nms(boxes, scores, labels, {'type': 'nms', 'iou_threshold': 0.4, 'split_thr': split})
    assert index.tolist() == kept
    torch.testing.assert_close(dets, torch.cat([boxes, scores[:, None]], 1)[kept])


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms(random_boxes: MakeBoxes, method: str) -> None:
    boxes, scores = random_boxes(40), torch.rand(40)
    left = dict(enumerate(scores.tolist()))
    visits: list[tuple[int, float]] = []
    while left:
        best = max(left, key=lambda i: left[i])
        visits.append((best, left.pop(best)))
        for other in left:
            overlap = iou(boxes[best].tolist(), boxes[other].tolist())
            if method == 'gaussian':
                left[other] *= math.exp(-(overlap**2) / 0.5)
            elif overlap >= 0.3:
                left[other] *= 0 if method == 'naive' else 1 - overlap
        left = {i: score for i, score in left.items() if score >= 0.05}
    dets, index = mmcv.ops.soft_nms(boxes, scores, 0.3, sigma=0.5, min_score=0.05, method=method)
    assert index.tolist() == [i for i, _ in visits]
    torch.testing.assert_close(dets[:, 4], torch.tensor([score for _, score in visits]))
    assert torch.equal(dets[:, :4], boxes[index])


def test_nms_match_groups(random_boxes: MakeBoxes) -> None:
    boxes, scores = random_boxes(40), torch.rand(40)
    groups = mmcv.ops.nms_match(torch.cat([boxes, scores[:, None]], 1), 0.3)
    kept = greedy(boxes, scores, 0.3)
    assert [group[0].item() for group in groups] == kept
    assert sorted(torch.cat(groups).tolist()) == list(range(40))
    for group in groups:
        assert bool((scores[group].diff() <= 0).all())
        assert all(iou(boxes[group[0]].tolist(), boxes[i].tolist()) > 0.3 for i in group[1:])
    assert isinstance(mmcv.ops.nms_match(torch.cat([boxes, scores[:, None]], 1).numpy(), 0.3)[0].tolist(), list)


def test_rotated_and_quadrilateral_suppression_agree_with_upright_boxes(random_boxes: MakeBoxes) -> None:
    boxes, scores = random_boxes(60), torch.rand(60)
    expected = greedy(boxes, scores, 0.4)
    dets, index = mmcv.ops.nms_rotated(as_rboxes(boxes), scores, 0.4)
    assert index.tolist() == expected
    assert torch.equal(dets[:, 5], scores[index])
    assert mmcv.ops.nms_quadri(as_quads(boxes), scores, 0.4)[1].tolist() == expected


def test_labels_are_honoured(random_boxes: MakeBoxes) -> None:
    boxes, scores = random_boxes(10).repeat(2, 1), torch.rand(20)
    labels = torch.arange(2).repeat_interleave(10)
    expected = sorted(
        greedy(boxes[:10], scores[:10], 0.4) + [i + 10 for i in greedy(boxes[10:], scores[10:], 0.4)],
        key=lambda i: -scores[i].item(),
    )
    assert mmcv.ops.nms_rotated(as_rboxes(boxes), scores, 0.4, labels=labels)[1].tolist() == expected
    assert mmcv.ops.nms_quadri(as_quads(boxes), scores, 0.4, labels=labels)[1].tolist() == expected


def test_rotated_overlap_known_values() -> None:
    upright = torch.tensor([[10.0, 20.0, 4.0, 4.0, 0.0], [10.0, 20.0, 8.0, 4.0, 0.3]])
    turned = torch.tensor(
        [[10.0, 20.0, 4.0, 4.0, math.pi / 4], [10.0, 20.0, 4.0, 4.0, 0.3], [90.0, 20.0, 4.0, 4.0, 0.0]]
    )
    overlap = mmcv.ops.box_iou_rotated(upright, turned)
    assert overlap.shape == (2, 3)
    torch.testing.assert_close(overlap[0, 0], torch.tensor(math.sqrt(0.5)))  # two squares at 45 degrees
    torch.testing.assert_close(overlap[1, 1], torch.tensor(0.5))
    assert overlap[:, 2].tolist() == [0, 0]
    aligned = mmcv.ops.box_iou_rotated(upright, turned[:2], mode='iof', aligned=True)
    torch.testing.assert_close(aligned, torch.tensor([2 * math.sqrt(2) - 2, 0.5]))


def test_rotated_overlap_sense_of_rotation() -> None:
    """A thin box at +30 degrees meets itself mirrored only when both are read the same way."""
    box, mirrored = torch.tensor([[0.0, 0.0, 9.0, 1.0, 0.5]]), torch.tensor([[0.0, 0.0, 9.0, 1.0, -0.5]])
    both = mmcv.ops.box_iou_rotated(box, box, clockwise=False)
    torch.testing.assert_close(both, torch.ones(1, 1))
    clockwise = mmcv.ops.box_iou_rotated(box, mirrored)
    torch.testing.assert_close(clockwise, mmcv.ops.box_iou_rotated(box, mirrored, clockwise=False))
    assert clockwise.item() < 0.2


@pytest.mark.parametrize('mode', ['iou', 'iof'])
@pytest.mark.parametrize('offset', [0, 1])
def test_upright_overlaps(random_boxes: MakeBoxes, mode: str, offset: int) -> None:
    first, second = random_boxes(7), random_boxes(7)
    expected = torch.tensor([[iou(a, b, offset) for b in second.tolist()] for a in first.tolist()])
    if mode == 'iof':
        size = [(boxes[:, 2:] - boxes[:, :2] + offset).prod(1) for boxes in (first, second)]
        shared = expected / (1 + expected) * (size[0][:, None] + size[1])
        expected = shared / size[0][:, None]
    matrix = mmcv.ops.bbox_overlaps(first, second, mode=mode, offset=offset)
    torch.testing.assert_close(matrix, expected)
    pairs = mmcv.ops.bbox_overlaps(first, second, mode=mode, offset=offset, aligned=True)
    torch.testing.assert_close(pairs, expected.diagonal())
    if offset == 0:
        torch.testing.assert_close(mmcv.ops.box_iou_quadri(as_quads(first), as_quads(second), mode=mode), expected)
        torch.testing.assert_close(mmcv.ops.box_iou_rotated(as_rboxes(first), as_rboxes(second), mode=mode), expected)

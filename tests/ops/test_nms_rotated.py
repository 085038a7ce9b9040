"""Rotated NMS against the definition, pair by pair."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stn_det.errors import InputError
from stn_det.ops import box_iou_rotated, nms_rotated

pytestmark = pytest.mark.usefixtures('implementation')


def test_known_case() -> None:
    boxes = torch.tensor([[0, 0, 10, 4, 0.3], [0, 0, 10, 4, 0.35], [0, 0, 4, 10, 0.3], [50, 50, 10, 4, 0.0]])
    keep = nms_rotated(boxes, torch.tensor([0.5, 0.9, 0.8, 0.1]), 0.5)
    assert keep.tolist() == [1, 2, 3]
    assert keep.dtype == torch.int64


@pytest.mark.parametrize('threshold', [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize('num_labels', [None, 1, 3])
def test_matches_the_definition(oracle, threshold: float, num_labels: int | None) -> None:
    boxes = oracle.random_rboxes(250, extent=150)
    boxes[50:100] = boxes[:50] + 0.3
    scores = torch.rand(250)
    scores[::7] = 0.5  # ties
    labels = None if num_labels is None else torch.randint(0, num_labels, (250,)) * 5 - 3
    matrix = box_iou_rotated(boxes, boxes).tolist()
    classes = None if labels is None else labels.tolist()
    expected = oracle.greedy_keep(scores.tolist(), threshold, lambda i, j: matrix[i][j], classes)
    assert nms_rotated(boxes, scores, threshold, labels).tolist() == expected


def test_chunks_do_not_change_the_result(oracle, monkeypatch) -> None:
    boxes, scores, labels = oracle.random_rboxes(300, extent=100), torch.rand(300), torch.randint(0, 4, (300,))
    whole = nms_rotated(boxes, scores, 0.2, labels)
    monkeypatch.setattr('stn_det.ops._suppression.ROWS_AT_ONCE', 10)
    monkeypatch.setattr('stn_det.ops._suppression.PAIRS_PER_TEST', 1000)
    monkeypatch.setattr('stn_det.ops._suppression.PAIRS_PER_CLIP', 13)
    assert nms_rotated(boxes, scores, 0.2, labels).tolist() == whole.tolist()


def test_equality_with_the_threshold_keeps_both() -> None:
    boxes = torch.tensor([[0, 0, 2, 1, 0], [1, 0, 2, 1, 0]], dtype=torch.float64)  # IoU 1/3
    overlap = box_iou_rotated(boxes[:1], boxes[1:]).item()
    scores = torch.tensor([0.9, 0.8])
    assert nms_rotated(boxes, scores, overlap).tolist() == [0, 1]
    assert nms_rotated(boxes, scores, overlap - 1e-9).tolist() == [0]


def test_ties_go_to_the_lower_index() -> None:
    boxes = torch.tensor([[5, 5, 4, 2, 0.3]]).repeat(5, 1)
    assert nms_rotated(boxes, torch.full((5,), 0.7), 0.5).tolist() == [0]


def test_labels_do_not_see_each_other_and_coordinates_are_not_shifted() -> None:
    boxes = torch.tensor([[1e5, 1e5, 4, 2, 0.3]]).repeat(4, 1)
    labels = torch.tensor([10**12, 7, 7, -(10**12)])
    assert nms_rotated(boxes, torch.tensor([0.1, 0.2, 0.3, 0.4]), 0.5, labels).tolist() == [3, 2, 0]


@given(st.integers(0, 10_000), st.floats(0, 1))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_idempotent_sorted_and_kept_boxes_do_not_clash(seed: int, threshold: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(40, 5, generator=generator) * torch.tensor([40, 40, 20, 20, 3])
    scores = torch.rand(40, generator=generator)
    keep = nms_rotated(boxes, scores, threshold)
    assert keep.numel() > 0
    assert scores[keep].tolist() == sorted(scores[keep].tolist(), reverse=True)
    assert nms_rotated(boxes[keep], scores[keep], threshold).tolist() == list(range(keep.numel()))
    overlaps = box_iou_rotated(boxes[keep], boxes[keep]).fill_diagonal_(0)
    assert overlaps.max() <= threshold + 1e-6


def test_permuting_the_input_permutes_the_result(oracle) -> None:
    boxes, scores = oracle.random_rboxes(100, extent=100), torch.rand(100)
    order = torch.randperm(100)
    assert order[nms_rotated(boxes[order], scores[order], 0.3)].tolist() == nms_rotated(boxes, scores, 0.3).tolist()


def test_nan_and_infinite_boxes_and_nan_scores_are_never_kept() -> None:
    boxes = torch.tensor([[5, 5, 4, 2, 0.3]]).repeat(6, 1)
    boxes[0, 2], boxes[1, 0], boxes[2, 4] = math.nan, math.inf, math.nan
    scores = torch.tensor([0.9, 0.9, 0.9, math.nan, 0.2, 0.1])
    assert nms_rotated(boxes, scores, 0.5).tolist() == [4]


def test_boxes_without_area_are_kept_and_suppress_nothing() -> None:
    boxes = torch.tensor([[5, 5, 0, 2, 0.3], [5, 5, 4, 2, 0.3], [5, 5, 0, 2, 0.3]])
    assert nms_rotated(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.0).tolist() == [0, 1, 2]


def test_infinite_scores_sort_as_numbers() -> None:
    boxes = torch.tensor([[0, 0, 2, 2, 0.0], [9, 9, 2, 2, 0.0], [20, 9, 2, 2, 0.0]])
    assert nms_rotated(boxes, torch.tensor([-math.inf, 0.0, math.inf]), 0.5).tolist() == [2, 1, 0]


def test_empty_non_contiguous_half_and_grad(oracle) -> None:
    assert nms_rotated(torch.zeros(0, 5), torch.zeros(0), 0.5, torch.zeros(0, dtype=torch.int64)).shape == (0,)
    boxes, scores = oracle.random_rboxes(60), torch.rand(120)
    strided = nms_rotated(boxes.t().contiguous().t(), scores[::2], 0.3)
    assert strided.tolist() == nms_rotated(boxes, scores[::2].clone(), 0.3).tolist()
    half = boxes.bfloat16()
    assert nms_rotated(half, scores[::2], 0.3).tolist() == nms_rotated(half.float(), scores[::2], 0.3).tolist()
    assert nms_rotated(boxes.requires_grad_(), scores[::2], 0.3).tolist() == strided.tolist()


def test_errors() -> None:
    boxes, scores = torch.zeros(3, 5), torch.zeros(3)
    with pytest.raises(InputError, match=r'boxes has shape \(3, 4\), expected \(M, 5\)'):
        nms_rotated(torch.zeros(3, 4), scores, 0.5)
    with pytest.raises(InputError, match=r'scores has length 2 \(shape \(2,\)\), expected 3 like boxes'):
        nms_rotated(boxes, scores[:2], 0.5)
    with pytest.raises(InputError, match=r'iou_threshold is 1.5, expected a number in \[0, 1\]'):
        nms_rotated(boxes, scores, 1.5)
    with pytest.raises(InputError, match=r'iou_threshold is nan'):
        nms_rotated(boxes, scores, math.nan)
    with pytest.raises(InputError, match='labels has length 1'):
        nms_rotated(boxes, scores, 0.5, torch.zeros(1, dtype=torch.int64))
    with pytest.raises(InputError, match=r'labels has dtype torch.float32, expected an integer dtype'):
        nms_rotated(boxes, scores, 0.5, torch.zeros(3))

"""Axis-aligned NMS against the definition."""

import math

import pytest
import torch

from stn_det.errors import InputError
from stn_det.ops import nms

pytestmark = pytest.mark.usefixtures('implementation')


def random_hboxes(count: int) -> torch.Tensor:
    corner, size = 100 * torch.rand(count, 2), 1 + 40 * torch.rand(count, 2)
    return torch.cat([corner, corner + size], 1)


def plain_iou(first: list[float], second: list[float]) -> float:
    width = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    height = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (sum(areas) - width * height)


def test_known_case() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 11, 11], [0, 0, 10, 5], [20, 20, 30, 30.0]])
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), 0.6).tolist() == [0, 2, 3]


@pytest.mark.parametrize('threshold', [0.0, 0.3, 0.7])
@pytest.mark.parametrize('labelled', [False, True])
def test_matches_the_definition(oracle, threshold: float, labelled: bool) -> None:
    boxes, scores = random_hboxes(300), torch.rand(300)
    labels = torch.randint(0, 4, (300,)) if labelled else None
    rows = boxes.double().tolist()
    expected = oracle.greedy_keep(
        scores.tolist(), threshold, lambda i, j: plain_iou(rows[i], rows[j]), labels.tolist() if labelled else None
    )
    assert nms(boxes.double(), scores, threshold, labels).tolist() == expected


def test_strict_comparison_and_ties() -> None:
    boxes = torch.tensor([[0, 0, 2, 1], [1, 0, 3, 1], [0, 0, 2, 1.0]])
    assert nms(boxes, torch.tensor([0.5, 0.5, 0.5]), 1 / 3 + 1e-6).tolist() == [0, 1]
    quarter = torch.tensor([[0, 0, 2, 2], [0, 0, 1, 1.0]])
    assert nms(quarter, torch.tensor([0.9, 0.8]), 0.25).tolist() == [0, 1]


def test_degenerate_boxes() -> None:
    boxes = torch.tensor([[0, 0, 4, 4], [1, 1, 1, 3], [3, 3, 1, 1], [math.nan, 0, 1, 1], [0, 0, math.inf, 4]])
    assert nms(boxes, torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]), 0.0).tolist() == [2, 1, 0]
    assert nms(boxes[:2], torch.tensor([math.nan, 0.2]), 0.5).tolist() == [1]


def test_empty_and_errors() -> None:
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)
    with pytest.raises(InputError, match=r'boxes has shape \(2, 5\), expected \(M, 4\)'):
        nms(torch.zeros(2, 5), torch.zeros(2), 0.5)

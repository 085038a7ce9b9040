"""NMS of quads against the definition."""

import math

import pytest
import torch

from stn_det.errors import InputError
from stn_det.ops import nms_quadri, nms_rotated, quadri_iou

pytestmark = pytest.mark.usefixtures('implementation')


@pytest.mark.parametrize('threshold', [0.0, 0.2, 0.6])
@pytest.mark.parametrize('labelled', [False, True])
def test_matches_the_definition(oracle, threshold: float, labelled: bool) -> None:
    quads = 60 * torch.rand(150, 1, 2, dtype=torch.float64) + 30 * torch.rand(150, 4, 2, dtype=torch.float64)
    quads, scores = quads.view(-1, 8), torch.rand(150)
    labels = torch.randint(0, 3, (150,)) if labelled else None
    matrix = quadri_iou(quads, quads).tolist()
    expected = oracle.greedy_keep(
        scores.tolist(), threshold, lambda i, j: matrix[i][j], labels.tolist() if labelled else None
    )
    assert nms_quadri(quads, scores, threshold, labels).tolist() == expected


def test_agrees_with_rotated_nms_on_rectangles(oracle) -> None:
    boxes, scores = oracle.random_rboxes(200, extent=120), torch.rand(200)
    quads = torch.tensor([oracle.rbox_corners(box) for box in boxes.tolist()], dtype=torch.float64).view(-1, 8)
    assert nms_quadri(quads, scores, 0.3).tolist() == nms_rotated(boxes, scores, 0.3).tolist()


def test_improper_empty_and_errors() -> None:
    square = [0, 0, 2, 0, 2, 2, 0, 2]
    quads = torch.tensor([square, [math.nan] * 8, [1.0] * 8, square], dtype=torch.float32)
    assert nms_quadri(quads, torch.tensor([0.1, 0.9, 0.8, math.nan]), 0.0).tolist() == [2, 0]
    assert nms_quadri(torch.zeros(0, 8), torch.zeros(0), 0.5).shape == (0,)
    with pytest.raises(InputError, match=r'quads has shape \(2, 4\), expected \(M, 8\)'):
        nms_quadri(torch.zeros(2, 4), torch.zeros(2), 0.5)

"""Soft-NMS against a plain loop."""

import math

import pytest
import torch

from stn_det.errors import InputError
from stn_det.ops import nms, soft_nms

pytestmark = pytest.mark.usefixtures('implementation')


def plain_soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    scores = dict(enumerate(scores))
    scores = {k: s for k, s in scores.items() if s >= min_score}
    out = []
    while scores:
        best = min(scores, key=lambda k: (-scores[k], k))
        out.append((best, scores.pop(best)))
        a = boxes[best]
        for k in list(scores):
            b = boxes[k]
            width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
            height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
            area = [(c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b)]
            overlap = width * height / (sum(area) - width * height)
            if method == 'gaussian':
                scores[k] *= math.exp(-overlap * overlap / sigma)
            elif overlap >= threshold:
                scores[k] *= 0 if method == 'naive' else 1 - overlap
            if scores[k] < min_score:
                del scores[k]
    return out


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('offset', [0, 1])
def test_matches_a_plain_loop(method: str, offset: int) -> None:
    corner = 60 * torch.rand(120, 2, dtype=torch.float64)
    boxes = torch.cat([corner, corner + 5 + 30 * torch.rand(120, 2, dtype=torch.float64)], 1)
    scores = torch.rand(120, dtype=torch.float64)
    expected = plain_soft_nms(boxes.tolist(), scores.tolist(), 0.3, 0.4, 0.05, method, offset)
    dets, index = soft_nms(boxes, scores, 0.3, 0.4, 0.05, method, offset)
    assert index.tolist() == [k for k, _ in expected]
    assert dets[:, 4].tolist() == pytest.approx([s for _, s in expected])
    assert torch.equal(dets[:, :4], boxes[index])


def test_linear_decay_of_one_pair() -> None:
    boxes = torch.tensor([[0, 0, 2, 1], [1, 0, 3, 1.0]])
    dets, index = soft_nms(boxes, torch.tensor([0.9, 0.6]), iou_threshold=0.3)
    assert index.tolist() == [0, 1]
    assert dets[:, 4].tolist() == pytest.approx([0.9, 0.6 * 2 / 3])


def test_naive_is_hard_nms() -> None:
    corner = 60 * torch.rand(100, 2)
    boxes, scores = torch.cat([corner, corner + 5 + 30 * torch.rand(100, 2)], 1), 0.1 + torch.rand(100)
    assert soft_nms(boxes, scores, 0.4, method='naive')[1].tolist() == nms(boxes, scores, 0.4).tolist()


def test_dropped_nan_empty_and_dtype() -> None:
    boxes = torch.tensor([[0, 0, 4, 4], [0, 0, 4, 4], [9, 9, 12, 12], [math.nan, 0, 1, 1], [20, 20, 24, 24.0]])
    dets, index = soft_nms(boxes, torch.tensor([0.9, 0.9, 1e-4, 0.9, math.nan]), min_score=1e-3)
    assert index.tolist() == [0]
    assert dets.tolist() == [pytest.approx([0, 0, 4, 4, 0.9])]
    dets, index = soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert (dets.shape, index.shape, index.dtype) == ((0, 5), (0,), torch.int64)
    assert soft_nms(boxes[:1].bfloat16(), torch.tensor([0.5]))[0].dtype == torch.bfloat16


def test_errors() -> None:
    boxes, scores = torch.zeros(2, 4), torch.zeros(2)
    with pytest.raises(InputError, match="method is 'hard', expected one of 'naive', 'linear', 'gaussian'"):
        soft_nms(boxes, scores, method='hard')
    with pytest.raises(InputError, match='offset is 2, expected one of 0, 1'):
        soft_nms(boxes, scores, offset=2)
    with pytest.raises(InputError, match=r'sigma is 0.0, expected a positive number'):
        soft_nms(boxes, scores, sigma=0.0)
    with pytest.raises(InputError, match='scores has length 3'):
        soft_nms(boxes, torch.zeros(3))

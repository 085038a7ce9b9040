"""Groups of NMS."""

import math

import pytest
import torch

from stn_det.errors import InputError
from stn_det.ops import nms, nms_match

pytestmark = pytest.mark.usefixtures('implementation')


def test_known_groups() -> None:
    dets = torch.tensor(
        [
            [0, 0, 10, 10, 0.7],
            [1, 0, 11, 10, 0.9],
            [50, 50, 60, 60, 0.8],
            [0, 1, 10, 11, 0.6],
            [51, 50, 61, 60, 0.95],
        ]
    )
    assert [group.tolist() for group in nms_match(dets, 0.5)] == [[4, 2], [1, 0, 3]]


def test_groups_partition_the_boxes_and_begin_with_the_kept_ones() -> None:
    corner = 80 * torch.rand(200, 2)
    boxes, scores = torch.cat([corner, corner + 5 + 30 * torch.rand(200, 2)], 1), torch.rand(200)
    groups = nms_match(torch.cat([boxes, scores[:, None]], 1), 0.4)
    assert [group[0].item() for group in groups] == nms(boxes, scores, 0.4).tolist()
    assert sorted(torch.cat(groups).tolist()) == list(range(200))
    for group in groups:
        assert scores[group].tolist() == sorted(scores[group].tolist(), reverse=True)
        for member in group[1:].tolist():
            pair = torch.stack([boxes[group[0]], boxes[member]])
            assert nms(pair, torch.tensor([1.0, 0.5]), 0.4).tolist() == [0]


def test_nan_empty_and_errors() -> None:
    dets = torch.tensor([[0, 0, 1, 1, math.nan], [0, 0, 1, 1, 0.5], [math.inf, 0, 1, 1, 0.9]])
    assert [group.tolist() for group in nms_match(dets, 0.5)] == [[1]]
    assert nms_match(torch.zeros(0, 5), 0.5) == []
    with pytest.raises(InputError, match=r'dets has shape \(3, 4\), expected \(M, 5\)'):
        nms_match(torch.zeros(3, 4), 0.5)

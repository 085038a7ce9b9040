"""Functions of all pairs in parts."""

import pytest
import torch
from torch import Tensor

from stn_det.models.losses import pairs
from stn_det.models.losses.pairs import over_pairs


def difference(first: Tensor, second: Tensor) -> Tensor:
    return first[..., 0] - second[..., 0]


@pytest.mark.parametrize(('at_once', 'calls'), [(1, 7), (8, 4), (1000, 1)])
def test_parts_make_up_the_whole(monkeypatch: pytest.MonkeyPatch, at_once: int, calls: int) -> None:
    monkeypatch.setattr(pairs, 'PAIRS_AT_ONCE', at_once)
    first, second = torch.randn(7, 5), torch.randn(4, 5)
    sizes = []
    found = over_pairs(lambda a, b: sizes.append(a.shape[0] * b.shape[1]) or difference(a, b), first, second)
    assert torch.equal(found, first[:, None, 0] - second[None, :, 0])
    assert len(sizes) == calls
    assert max(sizes) <= max(at_once, 4)  # a row at least


def test_no_boxes() -> None:
    assert over_pairs(difference, torch.zeros(0, 5), torch.zeros(3, 5)).shape == (0, 3)
    assert over_pairs(difference, torch.zeros(3, 5), torch.zeros(0, 5)).shape == (3, 0)

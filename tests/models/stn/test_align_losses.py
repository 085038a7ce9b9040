"""Losses of an alignment: zero for the truth, in the units they state, silent where the truth is not known."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from stn_det.errors import InputError
from stn_det.models.stn.align_losses import corner_loss, flow_loss, match_loss, mean_known, read_truth, smoothness
from stn_det.models.stn.coarse_align import CoarseMatch

SIZE = (64, 96)
DEVICE = torch.device('cpu')


def shift(dx: float, dy: float) -> Tensor:
    """One matrix (1, 3, 3) that moves points."""
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[0, 2], matrix[1, 2] = dx, dy
    return matrix[None]


def test_truth_is_read_where_there_is_one() -> None:
    values = [shift(3, 1)[0].numpy(), None, shift(3, 1)[0].tolist(), shift(3, 1)[0].float()]
    samples = [DetDataSample(metainfo={} if value is None else dict(second_from_first=value)) for value in values]
    truth, known = read_truth(samples, DEVICE)
    assert known.tolist() == [1, 0, 1, 1]
    assert torch.equal(truth[0], truth[2])
    assert torch.equal(truth[0], shift(3, 1)[0])
    assert torch.equal(truth[1], torch.eye(3, dtype=torch.float64))


def test_a_truth_of_another_shape_is_refused() -> None:
    samples = [DetDataSample(metainfo={}), DetDataSample(metainfo=dict(second_from_first=np.eye(2, 3)))]
    with pytest.raises(InputError, match=r'second_from_first of sample 1 has shape \(2, 3\), expected \(3, 3\)'):
        read_truth(samples, DEVICE)


def test_corner_loss_is_a_distance_in_units() -> None:
    known = torch.ones(1)
    assert corner_loss([shift(3, 4)], shift(3, 4), known, SIZE, 8).item() == 0
    # smooth L1 of 24 / 8 is 2.5 along x and 0 along y
    assert corner_loss([shift(24, 0)], shift(0, 0), known, SIZE, 8).item() == pytest.approx(1.25)
    late = corner_loss([shift(0, 0), shift(24, 0)], shift(0, 0), known, SIZE, 8)
    early = corner_loss([shift(24, 0), shift(0, 0)], shift(0, 0), known, SIZE, 8)
    assert late.item() == pytest.approx(1.25 / 1.8)
    assert early.item() == pytest.approx(0.8 * 1.25 / 1.8)


def test_pairs_without_a_truth_count_nothing() -> None:
    estimates = torch.cat([shift(24, 0), shift(99, 99)]).requires_grad_()
    truth = shift(0, 0).expand(2, 3, 3)
    half = corner_loss([estimates], truth, torch.tensor([1.0, 0.0]), SIZE, 8)
    assert half.item() == pytest.approx(1.25)
    none = corner_loss([estimates], truth, torch.zeros(2), SIZE, 8)
    none.backward()
    assert none.item() == 0
    assert estimates.grad.eq(0).all()


def one_match(searched: Tensor, place: tuple[int, int]) -> CoarseMatch:
    """A volume of 8 x 12 cells that is sure of one displacement (dx, dy)."""
    logits = torch.full((1, 5, 5, 8, 12), -50.0)
    logits[:, place[1] + 2, place[0] + 2] = 0.0
    return CoarseMatch([searched], [searched], [logits.flatten(1, 2)], torch.ones(1, 1, 8, 12))


def places(truth: Tensor) -> Tensor:
    """True places (1, 2, 8, 12) under a shift."""
    y, x = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(12) + 0.5, indexing='ij')
    return torch.stack([x, y])[None].double() * 8 + truth[:, :2, 2].view(1, 2, 1, 1)


@pytest.mark.parametrize('searched', [shift(0, 0), shift(-8, 16)])
def test_match_loss_is_zero_where_the_volume_is_right(searched: Tensor) -> None:
    truth = shift(8, -8) @ searched
    known = torch.ones(1)
    right = match_loss(one_match(searched, (1, -1)), places(truth), known, 8, SIZE)
    wrong = match_loss(one_match(searched, (-1, -1)), places(truth), known, 8, SIZE)
    assert right.item() == pytest.approx(0, abs=1e-5)
    assert wrong.item() == pytest.approx(50, abs=1e-3)


def test_match_loss_ignores_what_the_window_does_not_reach() -> None:
    known = torch.ones(1)
    assert match_loss(one_match(shift(0, 0), (0, 0)), places(shift(24, 0)), known, 8, SIZE).item() == 0


def test_flow_loss_is_a_distance_in_cells_within_the_limit() -> None:
    left = torch.zeros(1, 2, 3, 4)
    left[0, 0] = 4.0
    left[0, :, 0, 0] = 99.0
    flow = torch.zeros(1, 2, 3, 4)
    assert flow_loss({4: flow}, {4: left}, torch.ones(1), 8.0).item() == pytest.approx(0.5)
    assert flow_loss({8: flow}, {8: left}, torch.ones(1), 8.0).item() == pytest.approx(0.5 * 0.25)
    assert flow_loss({4: left}, {4: left}, torch.ones(1), 8.0).item() == 0


def test_means_and_smoothness() -> None:
    values = torch.tensor([[1.0, 2.0], [30.0, 40.0]])
    mask = torch.tensor([[True, False], [True, True]])
    assert mean_known(values, torch.tensor([1.0, 0.0]), mask).item() == 1
    assert mean_known(values, torch.zeros(2), mask).item() == 0
    ramp = torch.arange(5.0).expand(1, 2, 4, 5)
    assert smoothness(ramp).item() == pytest.approx(32 / (32 + 30))
    assert smoothness(torch.ones(1, 2, 1, 1)).item() == 0

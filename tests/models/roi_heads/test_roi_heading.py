"""Headings of regions: turning features is turning the region, both ways of an object end alike, the choice learns."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from torch import Tensor

from stn_det.errors import ConfigError, InputError
from stn_det.models import RoIHeading
from stn_det.ops import roi_align_rotated

ROIS = torch.tensor([[0.0, 30, 28, 24, 10, 0.4], [0, 34, 30, 12, 11, -1.3]])


def build(num_turns: int = 2, random: bool = True) -> RoIHeading:
    """A heading whose scorer prefers something."""
    heading = MODELS.build(dict(type='RoIHeading', in_channels=3, num_turns=num_turns, feat_channels=8))
    if random:
        torch.nn.init.normal_(heading.score.weight, std=0.1)
    return heading


def pooled(rois: Tensor) -> Tensor:
    """Features (R, 3, 7, 7) of regions of a random image."""
    image = torch.randn((1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    return roi_align_rotated(image, rois, 7, 1.0, 2, True, True)


@pytest.mark.parametrize('num_turns', [2, 4])
def test_it_starts_as_the_identity(num_turns: int) -> None:
    features, rois, scores = build(num_turns, random=False)(pooled(ROIS), ROIS)
    assert torch.equal(features, pooled(ROIS))
    assert torch.equal(rois, ROIS)
    assert scores.shape == (2, num_turns)


@pytest.mark.parametrize(('num_turns', 'turn'), [(2, 1), (4, 1), (4, 2), (4, 3)])
def test_turned_features_are_those_of_the_turned_region(num_turns: int, turn: int) -> None:
    heading = build(num_turns)
    rois = heading._turned_rois(ROIS, torch.tensor([turn, turn]))
    torch.testing.assert_close(heading._turned(pooled(ROIS), turn), pooled(rois), atol=1e-4, rtol=1e-4)
    # and by the numbers
    theta = ROIS[:, 5] + turn * 2 * math.pi / num_turns
    torch.testing.assert_close(rois[:, 5], theta)
    swapped = num_turns == 4 and turn % 2 == 1
    assert torch.equal(rois[:, 3:5], ROIS[:, [4, 3]] if swapped else ROIS[:, 3:5])


@pytest.mark.parametrize('num_turns', [2, 4])
@pytest.mark.parametrize('training', [False, True])
def test_all_readings_of_a_region_end_in_the_same_features(num_turns: int, training: bool) -> None:
    heading = build(num_turns).train(training)
    expected, region, _ = heading(pooled(ROIS), ROIS)
    chosen = set()
    for turn in range(num_turns):
        start = heading._turned_rois(ROIS, torch.full((2,), turn))
        features, rois, scores = heading(heading._turned(pooled(ROIS), turn), start)
        torch.testing.assert_close(features, expected)
        torch.testing.assert_close(rois[:, :5], region[:, :5])
        turns = (rois[:, 5] - region[:, 5]) / (2 * math.pi)
        torch.testing.assert_close(turns, turns.round(), atol=1e-5, rtol=0)
        chosen.add(scores.argmax(1)[0].item())
    assert len(chosen) == num_turns


def test_the_loss_of_the_features_teaches_the_choice() -> None:
    heading = build(random=False)
    wanted = pooled(ROIS).flip((2, 3))
    optimizer = torch.optim.Adam(heading.parameters(), lr=0.05)
    for _ in range(20):
        loss = (heading(pooled(ROIS), ROIS)[0] - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    features, rois, _ = heading.eval()(pooled(ROIS), ROIS)
    torch.testing.assert_close(features, wanted)
    torch.testing.assert_close(rois[:, 5], ROIS[:, 5] + math.pi)


def test_known_headings_by_hand() -> None:
    heading = build(4)
    scores = torch.tensor([[0.0, 2, 0, 0], [1, 0, 0, 0]])
    # the first object points a quarter turn clockwise of its region, the second the other way round
    headings = torch.tensor([0.4 + math.pi / 2 + 0.2, -1.3 + math.pi])
    rows = scores.log_softmax(1)
    torch.testing.assert_close(heading.loss(scores, ROIS, headings), -(rows[0, 1] + rows[1, 2]) / 2)
    unknown = torch.tensor([headings[0], math.nan])
    torch.testing.assert_close(heading.loss(scores, ROIS, unknown), -rows[0, 1])
    assert heading.loss(scores, ROIS, torch.full((2,), math.nan)) == 0
    assert heading.loss(scores[:0], ROIS[:0], headings[:0]) == 0


def test_no_regions() -> None:
    features, rois, scores = build()(torch.zeros(0, 3, 7, 7), torch.zeros(0, 6))
    assert features.shape == (0, 3, 7, 7)
    assert rois.shape == (0, 6)
    assert scores.shape == (0, 2)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match='num_turns is 3; expected 2'):
        build(3)
    with pytest.raises(InputError, match='1 headings came for 2 regions'):
        build().loss(torch.zeros(2, 2), ROIS, torch.zeros(1))

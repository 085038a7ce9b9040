"""Proposals: squares on the centres of cells, in fractions of the image; which cells come first."""

import math

import torch

from stn_det.models.layers.flat_levels import FlatLevels, Frame, padding_masks
from stn_det.models.layers.proposals import best_cells, cell_states, gather_queries


def maps(height: int, width: int) -> list[torch.Tensor]:
    """Two levels of an input of this size, at strides 16 and 32."""
    return [torch.zeros(2, 4, height // stride, width // stride) for stride in (16, 32)]


FRAME = Frame(((64, 96), (40, 64)), (64, 96), torch.tensor([[64.0, 96], [40, 64]]))


def test_cells_are_squares_in_fractions_of_their_image() -> None:
    states, _ = cell_states(FlatLevels.join(maps(64, 96), None), FRAME)
    assert states.shape == (2, 24 + 6, 5)
    assert torch.allclose(states[0, 1, :2], torch.tensor([24 / 96, 8 / 64]))
    assert torch.allclose(states[1, 1, :2], torch.tensor([24 / 64, 8 / 40]))
    assert torch.allclose(states[:, 24:, 2:], torch.tensor([0.1 / math.sqrt(2), 0.1 / math.sqrt(2), 0.0]))


def test_padding_is_known_by_the_centres_of_cells() -> None:
    masks = padding_masks(maps(64, 96), FRAME)
    assert [tuple(mask.shape) for mask in masks] == [(2, 4, 6), (2, 2, 3)]
    assert not masks[0][0].any()
    # 40 rows: centres at 8, 24 are inside, 40 is not; 64 columns: 56 is inside
    expected = torch.ones(4, 6, dtype=torch.bool)
    expected[:2, :4] = False
    assert torch.equal(masks[0][1], expected)
    assert masks[1][1].tolist() == [[False, False, True], [True, True, True]]  # 16; 16 and 48
    _, inside = cell_states(FlatLevels.join(maps(64, 96), masks), FRAME)
    assert torch.equal(inside[1], ~torch.cat([mask[1].flatten() for mask in masks]))


def test_without_padding_there_are_no_masks() -> None:
    assert padding_masks(maps(64, 96), Frame(((64, 96),) * 2, (64, 96), torch.tensor([[64.0, 96]] * 2))) is None


def test_the_best_class_ranks_cells_and_the_padding_comes_last() -> None:
    logits = torch.tensor([[[0.0, 1], [5, -9], [-3, 2], [9, 9]]])
    inside = torch.tensor([[True, True, True, False]])
    assert best_cells(logits, inside, 3).tolist() == [[1, 2, 0]]
    assert best_cells(logits, inside, 9).tolist() == [[1, 2, 0, 3]]
    assert gather_queries(logits, torch.tensor([[3, 0]])).tolist() == [[[9, 9], [0, 1]]]

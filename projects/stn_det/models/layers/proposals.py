"""Queries that start from what the encoder saw: the best cells of all levels become boxes.

Letters: N images, S positions of all levels, Q queries, C classes.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .flat_levels import FlatLevels, Frame, cell_centres, centres_scale

CELL_SIDE = 0.05 / math.sqrt(2)  # in diagonals: a twentieth of the side of a square image, doubled at each level
MARGIN = 0.01  # of the image: cells this close to the border propose nothing


class Proposals(NamedTuple):
    """The best proposals of an encoder.

    Attributes:
        logits: (N, Q, C) class scores.
        states: (N, Q, 5) boxes, see :class:`BoxState`.
    """

    logits: Tensor
    states: Tensor


def cell_states(memory: FlatLevels, frame: Frame) -> tuple[Tensor, Tensor]:
    """An upright square at each cell, larger on coarser levels, as in "Deformable DETR".

    https://arxiv.org/abs/2010.04159

    Returns:
        States (N, S, 5), and whether a cell lies well inside of its image, (N, S) bool.
    """
    device = memory.tokens.device
    pixels = cell_centres(memory.shapes, device) * centres_scale(frame, device)
    centres = pixels[None] / frame.img_shapes.flip(1)[:, None]  # (N, S, 2)
    sides = [
        torch.full((height * width,), min(CELL_SIDE * 2.0**level, 1 - MARGIN), device=device)
        for level, (height, width) in enumerate(memory.shapes)
    ]
    side = torch.cat(sides)[None, :, None].expand(len(centres), -1, 2)
    states = torch.cat([centres, side, torch.zeros_like(side[..., :1])], -1)
    inside = ((centres > MARGIN) & (centres < 1 - MARGIN)).all(-1)
    return states, inside


def best_cells(logits: Tensor, inside: Tensor, number: int) -> Tensor:
    """Positions (N, Q) of the cells with the highest score of any class; Q is ``number``, or S where there are fewer.

    Args:
        logits: (N, S, C).
        inside: (N, S) bool; other cells come last.
        number: how many are wanted.
    """
    rank = logits.detach().amax(-1).masked_fill(~inside, -torch.inf)
    return rank.topk(min(number, rank.shape[1]), dim=1).indices


def gather_queries(tensor: Tensor, indices: Tensor) -> Tensor:
    """Rows (N, Q, channels) of (N, S, channels) at positions (N, Q)."""
    return tensor.gather(1, indices[..., None].expand(-1, -1, tensor.shape[-1]))

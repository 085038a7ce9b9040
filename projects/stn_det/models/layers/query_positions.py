"""Positional queries: sines of centre and sides, and of the angle where it is wanted."""

import torch
from mmdet.models.layers import coordinate_to_encoding
from torch import Tensor


def encode_states(states: Tensor, num_feats: int, angle: bool = False) -> Tensor:
    """Sine encoding of box states.

    Without the angle, as "RHINO" https://arxiv.org/abs/2305.07598 does in one of its forms: a query then attends to its
    neighbours by place and size, whatever way they point.

    Args:
        states: (N, Q, 5), see :class:`BoxState`.
        num_feats: numbers for each of cx, cy, w, h; even.
        angle: append sin and cos of twice the angle, which have no seam.

    Returns:
        (N, Q, :func:`encoded_size`) float32.
    """
    encoding: Tensor = coordinate_to_encoding(states[..., :4], num_feats)
    if not angle:
        return encoding
    double = 2 * states[..., 4:]
    return torch.cat([encoding, double.sin(), double.cos()], -1)


def encoded_size(num_feats: int, angle: bool = False) -> int:
    """Numbers that :func:`encode_states` gives for a query."""
    return 4 * num_feats + (2 if angle else 0)

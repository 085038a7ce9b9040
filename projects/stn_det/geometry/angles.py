"""Angle ranges, and the canonical forms in which one rotated box is written.

A rectangle without a heading can be written as (w, h, theta), (w, h, theta + pi), (h, w, theta + pi/2) and
(h, w, theta - pi/2). A form picks one of them. The names ``oc``, ``le90`` and ``le135`` are those of the field (see
"MMRotate: A Rotated Object Detection Benchmark using PyTorch", https://arxiv.org/abs/2204.13317).
"""

import math

import torch
from torch import Tensor

from stn_det.errors import InputError

from ._compute import check_last, compute_dtype, result_dtype

_LONG_EDGE_START = {'le90': -math.pi / 2, 'le135': -math.pi / 4, 'pi': 0.0}
# An axis-parallel square must come out with theta = 0: its quarter turn starts at -pi/4 where the range allows it.
_SQUARE_START = {'le90': -math.pi / 4, 'le135': -math.pi / 4, 'pi': 0.0}

FORMS = ('oc', 'le90', 'le135', 'pi', 'full')


def normalize_angle(theta: Tensor, start: float = -math.pi / 2, period: float = math.pi) -> Tensor:
    """Move angles by whole periods into [start, start + period).

    Angles already in the range are returned bit for bit. The range is meant in the type of ``theta``: in float32,
    ``-math.pi / 2`` is the float32 number nearest to it.

    Args:
        theta: Angles in radians, any shape.
        start: First angle of the range, included.
        period: Length of the range, greater than 0.

    Returns:
        Angles in radians, the shape and dtype of ``theta`` (float32 for integers).

    Raises:
        InputError: If ``period`` is not greater than 0.
    """
    if not period > 0:
        raise InputError(
            f'period must be greater than 0 radians, got {period}; pass pi for a box, 2 * pi for a heading'
        )
    angle = theta.to(compute_dtype(theta))
    first = angle.new_tensor(start)
    end = first + period
    wrapped = angle - torch.floor((angle - first) / period) * period
    # Rounding can leave a wrapped angle one unit outside of either end; both ends are the same direction.
    wrapped = torch.where((wrapped < first) | (wrapped >= end), first, wrapped)
    inside = ((angle >= first) & (angle < end)) | angle.isnan()
    return torch.where(inside, angle, wrapped).to(result_dtype(theta))


def canonicalize_rboxes(rboxes: Tensor, form: str = 'le90') -> Tensor:
    """Write rotated boxes in one of the canonical forms, without moving them.

    ========  =====================  =================  ========================
    form      theta                  sizes              theta of a square
    ========  =====================  =================  ========================
    'le90'    [-pi/2, pi/2)          w >= h             [-pi/4, pi/4)
    'le135'   [-pi/4, 3 pi/4)        w >= h             [-pi/4, pi/4)
    'pi'      [0, pi)                w >= h             [0, pi/2)
    'oc'      (0, pi/2]              any                (0, pi/2]
    'full'    [-pi, pi)              as they were       [-pi, pi)
    ========  =====================  =================  ========================

    'full' keeps a heading: theta is the direction in which the object points and w its length along it. The other forms
    describe the rectangle only, and each rectangle has exactly one description in each of them.

    Args:
        rboxes: (..., 5) boxes (cx, cy, w, h, theta), pixels and radians, w and h at least 0.
        form: One of 'oc', 'le90', 'le135', 'pi', 'full'.

    Returns:
        (..., 5) the same boxes in the form asked for.

    Raises:
        InputError: If the last dimension is not 5 or the form is unknown.
    """
    check_last('rboxes', rboxes, 5)
    if form not in FORMS:
        raise InputError(
            f"form must be one of {', '.join(FORMS)}, got {form!r}; use 'le90' unless a checkpoint differs"
        )
    boxes = rboxes.to(compute_dtype(rboxes))
    centre, w, h, theta = boxes[..., :2], boxes[..., 2], boxes[..., 3], boxes[..., 4]
    if form == 'full':
        theta = normalize_angle(theta, -math.pi, 2 * math.pi)
    elif form == 'oc':
        first_quarter = -normalize_angle(-theta, -math.pi / 2, math.pi / 2)
        turns = torch.round((first_quarter - theta) / (math.pi / 2))
        odd = turns.remainder(2) == 1
        w, h, theta = torch.where(odd, h, w), torch.where(odd, w, h), first_quarter
    else:
        tall = w < h
        square = w == h
        theta = torch.where(tall, theta + math.pi / 2, theta)
        theta = torch.where(
            square,
            normalize_angle(theta, _SQUARE_START[form], math.pi / 2),
            normalize_angle(theta, _LONG_EDGE_START[form], math.pi),
        )
        w, h = torch.where(tall, h, w), torch.where(tall, w, h)
    sizes_and_angle = torch.stack([w, h, theta], dim=-1)
    return torch.cat([centre, sizes_and_angle], dim=-1).to(result_dtype(rboxes))

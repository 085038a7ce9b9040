"""Area of a polygon inside a rectangle: the shared core of the rotated overlap operators.

Clamping the plane onto the rectangle ``[-W, W] x [-H, H]`` is a retraction, so every interior point of the rectangle
keeps its winding number about the clamped boundary of the polygon. The signed area that the clamped boundary encloses,
``closed integral of X dY``, is therefore the intersection area. No vertex is classified, sorted or dropped and no
decision needs a tolerance, so nearly parallel edges, shared edges and touching corners are ordinary cases.

The derivative follows from moving the boundary: an edge of the polygon contributes through its part inside the
rectangle, a side of the rectangle through its part inside the polygon. It needs no derivative of the crossing
parameters, hence stays finite where those are ill-conditioned.

Letters: K polygon corners, P pairs; corner axis first so that the inner loop runs over pairs.
"""

from typing import Any

import torch
from torch import Tensor


def _crossings(start: Tensor, step: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Parameters in [0, 1] between which ``start + t * step`` lies in ``[-half, half]``; equal when it never does."""
    constant = step == 0
    divisor = torch.where(constant, torch.ones_like(step), step)
    first, second = (-half - start) / divisor, (half - start) / divisor
    enter = torch.minimum(first, second).clamp_(0, 1)
    leave = torch.maximum(first, second).clamp_(0, 1)
    within = start.abs() < half
    enter = torch.where(constant, torch.where(within, 0.0, 1.0), enter)
    return enter, leave.masked_fill_(constant, 1.0)


def _clamp(value: Tensor, half: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(value, half), -half)


class _ClippedArea(torch.autograd.Function):
    """Signed area of polygons within rectangles centred at the origin, with the analytic derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, half_w: Tensor, half_h: Tensor) -> Tensor:
        y_end = y.roll(-1, 0)
        dx, dy = x.roll(-1, 0) - x, y_end - y  # (K, P)
        x_enter, x_leave = _crossings(x, dx, half_w)
        y_enter, y_leave = _crossings(y, dy, half_h)
        # Y moves only while y_enter < t < y_leave; X is constant before `enter` and after `leave`, linear in between.
        enter = torch.minimum(torch.maximum(x_enter, y_enter), y_leave)
        leave = torch.maximum(torch.minimum(x_leave, y_leave), y_enter)
        x_before, x_after = _clamp(x + y_enter * dx, half_w), _clamp(x + y_leave * dx, half_w)
        x_middle = _clamp(x + (0.5 * (enter + leave)) * dx, half_w)
        # The ends of the Y steps are shared by neighbours bit for bit: where X is constant all the way round, as it is
        # when the polygon passes the rectangle by, the steps cancel and no residue is left.
        y_first, y_last = _clamp(y, half_h), _clamp(y_end, half_h)
        y_enters, y_leaves = _clamp(y + enter * dy, half_h), _clamp(y + leave * dy, half_h)
        area = x_before * (y_enters - y_first) + x_middle * (y_leaves - y_enters) + x_after * (y_last - y_leaves)
        if any(ctx.needs_input_grad):
            on_right = x_before.sign() * (enter - y_enter) + x_after.sign() * (y_leave - leave)
            low = torch.minimum(torch.maximum(y_enter, x_enter), x_leave)
            high = torch.maximum(torch.minimum(y_leave, x_leave), x_enter)
            on_top = (y + x_enter * dy).sign() * (low - x_enter) + (y + x_leave * dy).sign() * (x_leave - high)
            to_end = 0.5 * (leave * leave - enter * enter)
            to_start = (leave - enter) - to_end
            grad_x = dy * to_start + (dy * to_end).roll(1, 0)
            grad_y = -(dx * to_start + (dx * to_end).roll(1, 0))
            ctx.save_for_backward(grad_x, grad_y, (dy * on_right).sum(0), -(dx * on_top).sum(0))
        return area.sum(0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return tuple(grad * partial for partial in ctx.saved_tensors)


def clipped_area(x: Tensor, y: Tensor, half_w: Tensor, half_h: Tensor) -> Tensor:
    """Area of each polygon within the rectangle ``[-half_w, half_w] x [-half_h, half_h]``.

    Args:
        x, y: corners (K, P) of simple polygons, convex or not, in either orientation, in the rectangle's frame.
        half_w, half_h: half sizes (P,), not negative.

    Returns:
        Areas (P,), differentiable once to all four arguments; exactly 0 where they are below the rounding error, a few
        ulps of the rectangle's area, so that shapes which do not meet share nothing.
    """
    area: Tensor = _ClippedArea.apply(x, y, half_w, half_h)
    area = area.abs()
    residue = 16 * torch.finfo(area.dtype).eps * half_w.detach() * half_h.detach()
    return torch.where(area > residue, area, 0.0)


def rbox_corners_in_frame(frame: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Corners (4, P) of ``boxes`` (5, P) seen from the centre and axes of the rotated boxes ``frame`` (5, P)."""
    dx, dy = boxes[0] - frame[0], boxes[1] - frame[1]
    cos, sin = frame[4].cos(), frame[4].sin()
    turn = boxes[4] - frame[4]
    along_x, along_y = 0.5 * boxes[2] * turn.cos(), 0.5 * boxes[2] * turn.sin()
    across_x, across_y = -0.5 * boxes[3] * turn.sin(), 0.5 * boxes[3] * turn.cos()
    centre_x, centre_y = cos * dx + sin * dy, cos * dy - sin * dx
    first_x, second_x = along_x + across_x, along_x - across_x
    first_y, second_y = along_y + across_y, along_y - across_y
    x = torch.stack([centre_x - first_x, centre_x + second_x, centre_x + first_x, centre_x - second_x])
    y = torch.stack([centre_y - first_y, centre_y + second_y, centre_y + first_y, centre_y - second_y])
    return x, y


def quad_corners_in_frame(frame: Tensor, quads: Tensor) -> tuple[Tensor, Tensor]:
    """Corners (4, P) of ``quads`` (8, P) seen from the centre and axes of the rotated boxes ``frame`` (5, P)."""
    dx, dy = quads[0::2] - frame[0], quads[1::2] - frame[1]
    cos, sin = frame[4].cos(), frame[4].sin()
    return cos * dx + sin * dy, cos * dy - sin * dx


def shoelace(x: Tensor, y: Tensor) -> Tensor:
    """Signed area (P,) of polygons with corners (K, P), positive when clockwise on screen (y down).

    Coordinates are taken relative to the first corner, so that a large common offset costs no digits.
    """
    x, y = x - x[:1], y - y[:1]
    return 0.5 * (x * y.roll(-1, 0) - x.roll(-1, 0) * y).sum(0)

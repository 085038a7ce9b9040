"""Which cells of a level should look at which oriented box, and through which frame."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import InputError
from ...geometry import canonicalize_rboxes, hbox_to_rbox, qbox_to_rbox, rboxes_contain
from .oriented_point_coder import angle_vectors

# A box narrower than this many cells may hold no cell centre; one as wide as this, however turned, holds the centre of
# the cell in which its own lies, which is at most sqrt(1/2) cells away.
LEAST_WIDTH = math.sqrt(2)
KERNEL_SIZE = 3  # points of the kernel along an axis


class FrameTargets(NamedTuple):
    """Targets of :class:`~stn_det.models.layers.LocalFrames` for one image and level of H x W cells.

    Attributes:
        positive: (H, W) bool, cells that belong to a box; the rest below means something there only.
        offset: (2, H, W) centre of the box relative to that of the cell, (x, y) in cells.
        log_scale: (2, H, W) logarithm of a third of the box's long and short side in cells, within the limits.
        direction: (2, H, W) cosine and sine of twice the box's angle.
        elongation: (H, W) ``1 - (short / long)^2`` of the box, 0 for a square, whose angle nobody knows.
    """

    positive: Tensor
    offset: Tensor
    log_scale: Tensor
    direction: Tensor
    elongation: Tensor


def as_rboxes(boxes: Tensor) -> Tensor:
    """Boxes (M, 5), (M, 8) or (M, 4) as float32 rotated boxes (M, 5) in the form le90.

    Raises:
        InputError: If the boxes have another number of columns.
    """
    convert = {5: canonicalize_rboxes, 8: qbox_to_rbox, 4: hbox_to_rbox}.get(boxes.shape[-1])
    if convert is None:
        raise InputError(f'boxes have shape {tuple(boxes.shape)}, expected (M, 5), (M, 8) or (M, 4)')
    return convert(boxes.float())


def frame_targets(
    rboxes: Tensor,
    size: tuple[int, int],
    stride: float,
    size_range: tuple[float, float] = (0.0, math.inf),
    max_offset: float = 4.0,
    max_scale: float = 4.0,
) -> FrameTargets:
    """Frames that the cells of a level should predict.

    A cell belongs to a box if its centre lies inside (of a box of :data:`LEAST_WIDTH` cells at least), if the box's
    centre is within reach of its offset, and if ``sqrt(w h)`` is in the range of the level. Of several boxes the
    smallest one takes the cell. The frame of a box has its centre and angle, and its points are a third of the sides
    apart: at the centres of the 3x3 equal parts of the box, as in "Align Deep Features for Oriented Object Detection"
    https://arxiv.org/abs/2008.09397.

    Args:
        rboxes: (M, 5) boxes, le90, pixels of the network's input and radians.
        size: (height, width) of the level, cells.
        stride: Pixels a cell.
        size_range: Least and largest ``sqrt(w h)`` in strides, the second exclusive.
        max_offset: Largest offset in x and in y, cells.
        max_scale: Limits of the scales, see :func:`~stn_det.models.layers.decode_frames`.
    """
    boxes = torch.cat([rboxes[:, :4] / stride, rboxes[:, 4:]], dim=1)  # in cells
    side = (boxes[:, 2] * boxes[:, 3]).sqrt()
    boxes = boxes[side.argsort(stable=True)]
    side = side.sort()[0]
    fits = (side >= size_range[0]) & (side < size_range[1])
    taken = _smallest_box(boxes, fits, size, max_offset)
    boxes = torch.cat([boxes, boxes.new_tensor([[0.0, 0.0, 1.0, 1.0, 0.0]])])[taken]  # (H, W, 5)
    sides = boxes[..., 2:4].clamp(min=1e-3)
    y, x = cell_centers(size, boxes.device)
    largest = math.log(max_scale)
    return FrameTargets(
        positive=taken < rboxes.shape[0],
        offset=torch.stack([boxes[..., 0] - x, boxes[..., 1] - y]),
        log_scale=(sides / KERNEL_SIZE).log().clamp(-largest, largest).permute(2, 0, 1),
        direction=angle_vectors(boxes[..., 4])[..., :2].permute(2, 0, 1),
        elongation=1 - (sides[..., 1] / sides[..., 0]) ** 2,
    )


def _smallest_box(boxes: Tensor, fits: Tensor, size: tuple[int, int], max_offset: float) -> Tensor:
    """Index of the first of M boxes (M, 5) that each cell belongs to, M for none: (H, W).

    Only cells within reach of a box's centre are looked at: M x K x K pairs, where all cells would be M x H x W.
    """
    count, (height, width) = boxes.shape[0], size
    reach = math.ceil(max_offset)
    steps = torch.arange(-reach, reach + 1, device=boxes.device)
    column = boxes[:, 0].floor().long()[:, None, None] + steps  # (M, 1, K)
    row = boxes[:, 1].floor().long()[:, None, None] + steps[:, None]  # (M, K, 1)
    row, column = torch.broadcast_tensors(row, column)
    centers = torch.stack([column + 0.5, row + 0.5], dim=-1)  # (M, K, K, 2)
    wide = torch.cat([boxes[:, :2], boxes[:, 2:4].clamp(min=LEAST_WIDTH + 1e-4), boxes[:, 4:]], dim=1)
    near = (centers - boxes[:, None, None, :2]).abs().amax(-1) <= max_offset
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    good = near & inside & fits[:, None, None] & rboxes_contain(wide[:, None, None], centers)
    cell = torch.where(good, row * width + column, height * width).flatten()  # the last entry is for what is not good
    rank = torch.arange(count, device=boxes.device)[:, None, None].expand(row.shape).flatten()
    taken = torch.full((height * width + 1,), count, device=boxes.device)
    return taken.scatter_reduce(0, cell, rank, 'amin')[:-1].view(height, width)


def cell_centers(size: tuple[int, int], device: torch.device) -> tuple[Tensor, ...]:
    """y and x (H, W) of the centres of all cells of a level of (height, width), in cells: the first is 0.5."""
    axes = (torch.arange(length, device=device) + 0.5 for length in size)
    return torch.meshgrid(*axes, indexing='ij')

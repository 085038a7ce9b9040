"""What every assignment of feature-map points to oriented boxes shares: its frame, and which points lie inside."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import ConfigError

# (point, box) pairs looked at in one go: memory is bounded whatever the number of objects and the size of the image.
MAX_PAIRS = 1 << 22


class PointAssignment(NamedTuple):
    """What each of P points should predict.

    ``box_index`` ``(P,)`` int64 is the index of the assigned box, -1 for background; ``quality`` ``(P,)`` in [0, 1] is
    the classification target of a positive point, 0 elsewhere; ``ignored`` ``(P,)`` marks background points inside
    ignore regions, which bear no loss.
    """

    box_index: Tensor
    quality: Tensor
    ignored: Tensor


class PointAssigner(ABC):
    """Assigns the points of an image to its boxes; a subclass says which points a box gets.

    Args:
        topk: positives a box gets at most.
        min_extent: half sides, those of regions to ignore too, are widened to this many finest strides when points
            inside are sought.

    Raises:
        ConfigError: when topk is below 1.
    """

    def __init__(self, topk: int, min_extent: float) -> None:
        if topk < 1:
            raise ConfigError(f'topk is {topk}; expected at least 1')
        self.topk, self.min_extent = topk, min_extent

    @torch.no_grad()
    def assign(
        self, points: Tensor, pred_boxes: Tensor, pred_scores: Tensor, boxes: Tensor, labels: Tensor, ignore: Tensor
    ) -> PointAssignment:
        """Assigns the points of one image.

        Args:
            points: ``(P, 3)`` (x, y, stride) in pixels.
            pred_boxes: ``(P, 5)`` decoded predictions, pixels and radians.
            pred_scores: ``(P, C)`` class probabilities in [0, 1].
            boxes: ``(M, 5)`` truth.
            labels: ``(M,)`` int64 classes of the truth.
            ignore: ``(I, 5)`` regions where nothing is known.

        Returns:
            The assignment of every point.
        """
        box_index = points.new_full((points.shape[0],), -1, dtype=torch.long)
        quality = points.new_zeros(points.shape[0])
        ignored = points_inside_any(points, ignore, self.min_extent)
        if boxes.shape[0]:
            point, box, asked = self._positives(points, pred_boxes, pred_scores, boxes, labels)
            box_index[point], quality[point] = box, asked
        return PointAssignment(box_index, quality, ignored & (box_index < 0))

    @abstractmethod
    def _positives(
        self, points: Tensor, pred_boxes: Tensor, pred_scores: Tensor, boxes: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Positive points, each once, their boxes and the quality asked of them, each ``(K,)``; there are boxes."""


def box_chunks(num_boxes: int, num_points: int) -> Iterator[slice]:
    """Slices of the boxes, each with at most ``MAX_PAIRS`` pairs of a box and a point (but one box at least)."""
    step = max(1, MAX_PAIRS // max(1, num_points))
    for first in range(0, num_boxes, step):
        yield slice(first, first + step)


def points_inside(points: Tensor, boxes: Tensor, min_extent: float) -> tuple[Tensor, Tensor]:
    """Which points lie inside which boxes.

    Args:
        points: ``(P, 3)`` (x, y, stride) in pixels.
        boxes: ``(M, 5)`` boxes, pixels and radians.
        min_extent: half sides are widened to this many finest strides, so that no box is lost between the points.

    Returns:
        ``(M, P)`` mask, and ``(M, P)`` nearness to the centre in (0, 1], in units of the half sides.
    """
    shift_x = points[None, :, 0] - boxes[:, 0, None]
    shift_y = points[None, :, 1] - boxes[:, 1, None]
    cos, sin = boxes[:, 4, None].cos(), boxes[:, 4, None].sin()
    least = min_extent * points[:, 2].min()
    half = torch.maximum(boxes[:, 2:4] / 2, least)
    along = (shift_x * cos + shift_y * sin).abs() / half[:, :1]
    across = (shift_y * cos - shift_x * sin).abs() / half[:, 1:]
    return (along <= 1) & (across <= 1), 1 / (1 + along**2 + across**2)


def points_inside_any(points: Tensor, boxes: Tensor, min_extent: float) -> Tensor:
    """Mask ``(P,)`` of points inside at least one of boxes ``(I, 5)``; see ``points_inside``."""
    covered = points.new_zeros(points.shape[0], dtype=torch.bool)
    for chunk in box_chunks(boxes.shape[0], points.shape[0]):
        covered |= points_inside(points, boxes[chunk], min_extent)[0].any(0)
    return covered

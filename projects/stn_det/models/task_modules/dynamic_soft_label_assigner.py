"""Dynamic soft label assignment of feature-map points to oriented boxes."""

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from ...ops import box_iou_rotated
from .point_assignment import PointAssigner, box_chunks, points_inside

# An overlap below this costs as much as this one: boxes that do not touch have a finite cost.
LEAST_IOU = 1e-7
# The centre prior is a power of ten; beyond this exponent it would leave the range of float32.
LARGEST_EXPONENT = 30.0
# The logarithm of a probability is kept above this, as PyTorch's binary cross entropy does.
LEAST_LOG = -100.0


@TASK_UTILS.register_module()
class RotatedDynamicSoftLabelAssigner(PointAssigner):
    """Gives every oriented box as many points as predict it well, those that cost least.

    The cost of point p for box g is the sum of

    - a soft classification cost, the quality focal loss of p's scores with the IoU as the label of g's class:
      ``sum_c BCE(s_c, y_c) * (s_c - y_c) ** 2`` with ``y_c`` the IoU for the class of g and 0 for all others;
    - ``iou_weight * -log(IoU)``;
    - a soft centre prior, ``10 ** (distance - soft_center_radius)``, with the distance of p from g's centre in strides
      of p.

    Box g gets k points, k being the sum of its ``topk`` largest IoUs, rounded down, and at least 1. A point wanted by
    several boxes goes to the one for which it costs least. Proposed in "RTMDet: An Empirical Study of Designing
    Real-Time Object Detectors" https://arxiv.org/abs/2212.07784. Here the IoU is the exact one of rotated boxes, and
    only points inside the rotated box are candidates, boxes smaller than the finest stride being widened so that each
    keeps one. The quality asked of a positive point is its IoU. Of equal costs the point that comes first is taken.

    Memory: only pairs of a box and a point inside it are computed, in chunks; the classes are summed up for each point
    once, since all boxes but for their own class see the same sum.

    Args:
        topk: how many of the largest IoUs are summed up; also the most points a box gets.
        iou_weight: factor of the IoU cost.
        soft_center_radius: distance, in strides, at which the centre prior is 1.
        min_extent: half sides, those of regions to ignore too, are widened to this many finest strides when points
            inside are sought.

    Raises:
        ConfigError: when topk is below 1.
    """

    def __init__(
        self, topk: int = 13, iou_weight: float = 3.0, soft_center_radius: float = 3.0, min_extent: float = 1.0
    ) -> None:
        super().__init__(topk, min_extent)
        self.iou_weight = iou_weight
        self.soft_center_radius = soft_center_radius

    def _positives(
        self, points: Tensor, pred_boxes: Tensor, pred_scores: Tensor, boxes: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See the base class."""
        every_class = _focal(pred_scores, torch.zeros_like(pred_scores)).sum(1)
        parts = [
            self._chosen(points, pred_boxes, pred_scores, every_class, boxes[chunk], labels[chunk], chunk.start)
            for chunk in box_chunks(boxes.shape[0], points.shape[0])
        ]
        point, box, cost, iou = (torch.cat(column) for column in zip(*parts))
        order = cost.argsort(stable=True)
        point, box, iou = point[order], box[order], iou[order]
        position = torch.arange(point.numel(), device=point.device)
        first = position.new_full((points.shape[0],), point.numel()).scatter_reduce(0, point, position, 'amin')
        kept = first[first < point.numel()]
        return point[kept], box[kept], iou[kept]

    def _chosen(
        self,
        points: Tensor,
        pred_boxes: Tensor,
        pred_scores: Tensor,
        every_class: Tensor,
        boxes: Tensor,
        labels: Tensor,
        first: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The points of each of a chunk of M boxes as pairs (point, box, cost, IoU), each ``(K,)``."""
        inside = points_inside(points, boxes, self.min_extent)[0]
        count = inside.sum(1)
        box, point = inside.nonzero(as_tuple=True)
        iou = box_iou_rotated(pred_boxes[point], boxes[box], aligned=True).clamp(0, 1).to(points.dtype)
        best = _rank(iou, box, count, descending=True) < self.topk
        allowed = iou.new_zeros(boxes.shape[0]).index_add(0, box[best], iou[best]).long().clamp(min=1)
        score = pred_scores[point, labels[box]].to(points.dtype)
        cost = every_class[point] - _focal(score, torch.zeros_like(score)) + _focal(score, iou)
        cost = cost - self.iou_weight * iou.clamp(min=LEAST_IOU).log()
        distance = (points[point, :2] - boxes[box, :2]).norm(dim=1) / points[point, 2]
        cost = cost + 10.0 ** (distance - self.soft_center_radius).clamp(max=LARGEST_EXPONENT)
        taken = _rank(cost, box, count, descending=False) < allowed[box]
        return point[taken], box[taken] + first, cost[taken], iou[taken]


def _focal(score: Tensor, target: Tensor) -> Tensor:
    """Quality focal loss of probabilities with soft labels, elementwise: cross entropy times the squared error."""
    entropy = target * score.log().clamp(min=LEAST_LOG) + (1 - target) * (-score).log1p().clamp(min=LEAST_LOG)
    return -entropy * (score - target) ** 2


def _rank(value: Tensor, group: Tensor, count: Tensor, descending: bool) -> Tensor:
    """Rank ``(K,)`` of each value within its group, from 0; equal values in the order in which they come.

    Args:
        value: ``(K,)`` numbers.
        group: ``(K,)`` group of each, ascending.
        count: ``(G,)`` members of each group.
        descending: whether the largest has rank 0.
    """
    order = value.argsort(stable=True, descending=descending)
    order = order[group[order].argsort(stable=True)]
    start = count.cumsum(0) - count
    rank = torch.empty_like(group)
    rank[order] = torch.arange(group.numel(), device=group.device) - start[group]
    return rank

"""Task-aligned assignment of feature-map points to oriented boxes."""

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from ...ops import box_iou_rotated
from .point_assignment import PointAssigner, box_chunks, points_inside


@TASK_UTILS.register_module()
class RotatedTaskAlignedAssigner(PointAssigner):
    """Gives every oriented box the points that already predict it best.

    The alignment of point p with box g is ``score ** alpha * IoU ** beta``; among the points inside it the ``topk``
    best become positives, and a point wanted by several boxes goes to the one it overlaps most. Proposed in "TOOD:
    Task-aligned One-stage Object Detection" https://arxiv.org/abs/2108.07755. Here inside means inside the rotated
    box, the IoU is the exact rotated one, and boxes smaller than the finest stride are widened so that each keeps a
    candidate.

    Args:
        topk: positives a box gets at most.
        alpha: exponent of the classification score.
        beta: exponent of the IoU.
        min_extent: half sides, those of regions to ignore too, are widened to this many finest strides when points
            inside are sought.

    Raises:
        ConfigError: when topk is below 1.
    """

    def __init__(self, topk: int = 13, alpha: float = 1.0, beta: float = 6.0, min_extent: float = 1.0) -> None:
        super().__init__(topk, min_extent)
        self.alpha, self.beta = alpha, beta

    def _positives(
        self, points: Tensor, pred_boxes: Tensor, pred_scores: Tensor, boxes: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See the base class."""
        parts = [
            self._candidates(points, pred_boxes, pred_scores, boxes[chunk], labels[chunk], chunk.start)
            for chunk in box_chunks(boxes.shape[0], points.shape[0])
        ]
        point, box, metric, iou = (torch.cat(column) for column in zip(*parts))
        # A point wanted twice goes to the larger overlap: sorted by IoU, the last write stands.
        order = iou.argsort(stable=True)
        point, box, metric, iou = point[order], box[order], metric[order], iou[order]
        position = torch.arange(point.numel(), device=point.device)
        last = position.new_full((points.shape[0],), -1).scatter_reduce(0, point, position, 'amax')
        kept = last[last >= 0]
        point, box, metric, iou = point[kept], box[kept], metric[kept], iou[kept]
        # The best point of a box is asked for its IoU, the others for a share in proportion to their alignment.
        best_metric = metric.new_zeros(boxes.shape[0]).scatter_reduce(0, box, metric, 'amax')
        best_iou = iou.new_zeros(boxes.shape[0]).scatter_reduce(0, box, iou, 'amax')
        return point, box, metric / best_metric[box].clamp(min=1e-30) * best_iou[box]

    def _candidates(
        self, points: Tensor, pred_boxes: Tensor, pred_scores: Tensor, boxes: Tensor, labels: Tensor, first: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The topk points of each of a chunk of boxes as pairs (point, box, alignment, IoU), each ``(K,)``."""
        inside, nearness = points_inside(points, boxes, self.min_extent)
        box, point = inside.nonzero(as_tuple=True)
        iou = box_iou_rotated(pred_boxes[point], boxes[box], aligned=True).clamp(0, 1).to(points.dtype)
        metric = pred_scores[point, labels[box]].to(points.dtype) ** self.alpha * iou**self.beta
        # Before anything overlaps every alignment is zero; the points nearest to the centre then stand first.
        ranking = points.new_full(inside.shape, -1.0)
        ranking[box, point] = metric + 1e-9 * nearness[box, point]
        dense_metric, dense_iou = torch.zeros_like(ranking), torch.zeros_like(ranking)
        dense_metric[box, point], dense_iou[box, point] = metric, iou
        rank, top = ranking.topk(min(self.topk, points.shape[0]), dim=1)
        row, column = (rank >= 0).nonzero(as_tuple=True)
        chosen = top[row, column]
        return chosen, row + first, dense_metric[row, chosen], dense_iou[row, chosen]

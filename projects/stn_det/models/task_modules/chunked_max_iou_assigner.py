"""Assignment by the largest overlap, whose memory does not grow with the number of objects."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import ConfigType
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import ConfigError


class _Matches(NamedTuple):
    """Of each prior: largest overlap, the box it is with, and the last box (from 1) that has no better prior, or 0."""

    overlap: Tensor
    box: Tensor
    best_of: Tensor


@TASK_UTILS.register_module()
class ChunkedMaxIoUAssigner(BaseAssigner):
    """Gives each prior the box it overlaps most, and each box the priors that overlap it most.

    The rule is that of mmdet's ``MaxIoUAssigner``, from "Faster R-CNN: Towards Real-Time Object Detection with Region
    Proposal Networks" https://arxiv.org/abs/1506.01497: a prior whose largest overlap is at least ``pos_iou_thr`` is
    positive, one below ``neg_iou_thr`` negative, one between bears no loss; then each box claims its best priors, the
    later box where two claim the same. Three things differ. Overlaps are computed for some boxes at a time, so 3,000
    objects and 250,000 anchors need no more memory than twenty objects. Regions to ignore take the loss from background
    only, also in images without objects: an object beside or inside such a region keeps its priors. And a box claims no
    prior that does not touch it at all.

    Args:
        pos_iou_thr: Least overlap of a positive prior.
        neg_iou_thr: Overlap below which a prior is negative, or the two ends of that range.
        min_pos_iou: Least overlap of a prior that is claimed by a box.
        gt_max_assign_all: Whether a box claims all priors that tie for the best, or the first of them.
        ignore_iof_thr: Background with more than this part of its area in a region to ignore bears no loss; negative
            values switch that off.
        match_low_quality: Whether boxes claim their best priors at all.
        iou_calculator: Overlaps of boxes with priors; 'RBboxOverlaps2D' for oriented ones.
        max_pairs: Pairs of box and prior compared at a time.

    Raises:
        ConfigError: If thresholds exclude one another or ``max_pairs`` is below 1.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import TASK_UTILS
        >>> from mmengine.structures import InstanceData
        >>> assigner = TASK_UTILS.build(dict(type='ChunkedMaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5))
        >>> priors = InstanceData(priors=torch.tensor([[0.0, 0.0, 9.0, 9.0], [50.0, 50.0, 60.0, 60.0]]))
        >>> truth = InstanceData(bboxes=torch.tensor([[0.0, 0.0, 10.0, 10.0]]), labels=torch.tensor([3]))
        >>> assigner.assign(priors, truth).gt_inds
        tensor([1, 0])
    """

    def __init__(
        self,
        pos_iou_thr: float,
        neg_iou_thr: float | Sequence[float],
        min_pos_iou: float = 0.0,
        gt_max_assign_all: bool = True,
        ignore_iof_thr: float = -1,
        match_low_quality: bool = True,
        iou_calculator: ConfigType | None = None,
        max_pairs: int = 2**22,
    ) -> None:
        low, high = (0.0, neg_iou_thr) if isinstance(neg_iou_thr, (int, float)) else neg_iou_thr
        if not 0 <= low <= high <= pos_iou_thr:
            raise ConfigError(
                f'neg_iou_thr is {neg_iou_thr} and pos_iou_thr is {pos_iou_thr}; expected the range of negatives to '
                f'end where or before that of positives begins'
            )
        if max_pairs < 1:
            raise ConfigError(f'max_pairs is {max_pairs}; expected at least 1')
        self.pos_iou_thr, self.negatives = pos_iou_thr, (float(low), float(high))
        self.min_pos_iou = min_pos_iou
        self.gt_max_assign_all = gt_max_assign_all
        self.ignore_iof_thr = ignore_iof_thr
        self.match_low_quality = match_low_quality
        self.iou_calculator = TASK_UTILS.build(iou_calculator or dict(type='BboxOverlaps2D'))
        self.max_pairs = max_pairs

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
    ) -> AssignResult:
        """Assigns the priors of one image.

        Args:
            pred_instances: ``priors`` ``(P, 4)`` or ``(P, 5)``, whatever the calculator of overlaps takes.
            gt_instances: ``bboxes`` ``(M, ...)`` of the same kind and ``labels`` ``(M,)``.
            gt_instances_ignore: ``bboxes`` ``(I, ...)`` of the same kind, or None.

        Returns:
            mmdet's result: ``gt_inds`` ``(P,)`` is -1 for no loss, 0 for background, k + 1 for box k.
        """
        priors, boxes = get_box_tensor(pred_instances.priors), get_box_tensor(gt_instances.bboxes)
        labels = gt_instances.labels
        found = self._match(priors, boxes)
        index = torch.full_like(found.box, -1)
        low, high = self.negatives
        index[(found.overlap >= low) & (found.overlap < high)] = 0
        index = torch.where(found.overlap >= self.pos_iou_thr, found.box + 1, index)
        index = torch.where(found.best_of > 0, found.best_of, index)
        if boxes.shape[0] == 0:
            index.zero_()
        index[(index == 0) & self._ignored(priors, gt_instances_ignore)] = -1
        of_prior = torch.full_like(index, -1)
        positive = index > 0
        of_prior[positive] = labels[index[positive] - 1]
        return AssignResult(boxes.shape[0], index, found.overlap.clamp(min=0), labels=of_prior)

    def _match(self, priors: Tensor, boxes: Tensor) -> _Matches:
        """Runs through the boxes in chunks; without boxes the overlaps are -1."""
        number = priors.shape[0]
        overlap = priors.new_full((number,), -1.0, dtype=torch.float32)
        box = torch.zeros_like(overlap, dtype=torch.long)
        best_of = torch.zeros_like(box)
        if number == 0:
            return _Matches(overlap, box, best_of)
        rows = max(1, self.max_pairs // number)
        for start in range(0, boxes.shape[0], rows):
            pairs = self.iou_calculator(boxes[start : start + rows], priors).float()
            largest, which = pairs.max(0)
            better = largest > overlap
            overlap = torch.where(better, largest, overlap)
            box = torch.where(better, which + start, box)
            if self.match_low_quality:
                best_of = torch.maximum(best_of, self._claimed(pairs, start))
        return _Matches(overlap, box, best_of)

    def _claimed(self, pairs: Tensor, start: int) -> Tensor:
        """Of overlaps (K, P): the last of the boxes start + 1, ..., start + K that claims each prior, 0 for none."""
        best, first = pairs.max(1, keepdim=True)
        claims = pairs == best if self.gt_max_assign_all else torch.zeros_like(pairs, dtype=torch.bool)
        claims.scatter_(1, first, True)
        claims &= (best >= self.min_pos_iou) & (best > 0)
        # 32 bits: half the memory of the largest matrix here
        number = torch.arange(start + 1, start + 1 + len(pairs), dtype=torch.int32, device=pairs.device)
        return torch.where(claims, number[:, None], 0).amax(0).long()

    def _ignored(self, priors: Tensor, regions: InstanceData | None) -> Tensor:
        """Mask (P,) of priors that lie in a region to ignore."""
        mask = torch.zeros(priors.shape[0], dtype=torch.bool, device=priors.device)
        if self.ignore_iof_thr < 0 or regions is None or priors.shape[0] == 0:
            return mask
        boxes = get_box_tensor(regions.bboxes)
        for chunk in boxes.split(max(1, self.max_pairs // priors.shape[0])):
            if chunk.shape[0]:
                mask |= (self.iou_calculator(priors, chunk, mode='iof') > self.ignore_iof_thr).any(1)
        return mask

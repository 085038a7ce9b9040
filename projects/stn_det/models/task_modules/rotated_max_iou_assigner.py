"""Assignment by largest overlap for thousands of oriented boxes: in chunks, without reading values on the host."""

import torch
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import ConfigType
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import ConfigError

# Boxes handled at a time: memory is bounded by this many rows of overlaps whatever the number of objects.
CHUNK = 256


@TASK_UTILS.register_module()
class RotatedMaxIoUAssigner(BaseAssigner):
    """Gives every prior the box that it overlaps most, if enough, and every box its best prior.

    The rule of mmdet's ``MaxIoUAssigner``, which works with ``RBboxOverlaps2D`` too, but holds the overlaps of all
    boxes with all priors and asks the device box by box. The results agree but for three cases: a box that
    overlaps no prior at all claims none here and every one there that overlaps nothing, regions to ignore count in
    images without objects, too, and an object inside of such a region keeps its priors.

    Args:
        pos_iou_thr: a prior of this IoU with a box, or more, is positive.
        neg_iou_thr: a prior whose largest IoU is below is background; between the two it bears no loss.
        min_pos_iou: the best priors of a box are positive from this IoU on, which must be above 0.
        match_low_quality: whether the best priors of a box are positive; of several boxes the last takes a prior.
        ignore_iof_thr: background of which more than this share lies in one region to ignore bears no loss; negative to
            let such regions be background.
        iou_calculator: config of the overlaps.

    Raises:
        ConfigError: when the thresholds are in the wrong order, or not above 0.
    """

    def __init__(
        self,
        pos_iou_thr: float = 0.5,
        neg_iou_thr: float = 0.4,
        min_pos_iou: float = 0.0,
        match_low_quality: bool = True,
        ignore_iof_thr: float = -1.0,
        iou_calculator: ConfigType | None = None,
    ) -> None:
        if not (0 <= neg_iou_thr <= pos_iou_thr and pos_iou_thr > 0):
            raise ConfigError(
                f'neg_iou_thr is {neg_iou_thr} and pos_iou_thr is {pos_iou_thr}; expected the first in '
                f'[0, pos_iou_thr] and the second above 0'
            )
        self.pos_iou_thr, self.neg_iou_thr, self.min_pos_iou = pos_iou_thr, neg_iou_thr, min_pos_iou
        self.match_low_quality = match_low_quality
        self.ignore_iof_thr = ignore_iof_thr
        self.iou_calculator = TASK_UTILS.build(iou_calculator or dict(type='RBboxOverlaps2D'))

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs: object,
    ) -> AssignResult:
        """Assign the priors of one image.

        Args:
            pred_instances: ``priors`` ``(P, 5)``, pixels and radians.
            gt_instances: ``bboxes`` ``(M, 5)`` in the same frame and ``labels`` ``(M,)``.
            gt_instances_ignore: ``bboxes`` ``(I, 5)`` of regions where nothing is known, or None.
            **kwargs: what mmdet passes to assigners of other kinds; without effect.

        Returns:
            ``gt_inds`` ``(P,)``: 0 for background, k + 1 for box k, -1 for no loss; ``max_overlaps`` ``(P,)``, and
            ``labels`` ``(P,)``, -1 where there is no box.
        """
        priors = get_box_tensor(pred_instances.priors)
        boxes = get_box_tensor(gt_instances.bboxes)
        overlap, chosen, claimed = self._best(priors, boxes)
        gt_inds = torch.where(overlap < self.neg_iou_thr, 0, -1)
        gt_inds = torch.where(overlap >= self.pos_iou_thr, chosen + 1, gt_inds)
        gt_inds = torch.where(claimed >= 0, claimed.long() + 1, gt_inds)
        if gt_instances_ignore is not None and self.ignore_iof_thr >= 0:
            covered = self._covered(priors, get_box_tensor(gt_instances_ignore.bboxes))
            gt_inds = torch.where(covered & (gt_inds == 0), -1, gt_inds)
        with_background = torch.cat([gt_instances.labels.new_full((1,), -1), gt_instances.labels])
        return AssignResult(boxes.shape[0], gt_inds, overlap, with_background[gt_inds.clamp(min=0)])

    def _best(self, priors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Largest overlap ``(P,)``, its box ``(P,)``, and the last box ``(P,)`` of which a prior is the best, or -1."""
        count = priors.shape[0]
        overlap = priors.new_zeros(count, dtype=torch.float32)
        chosen = priors.new_zeros(count, dtype=torch.long)
        nobody = torch.full((), -1, dtype=torch.int32, device=priors.device)
        claimed = nobody.expand(count)  # 32 bits: the memory traffic of this matrix is what assignment waits for
        if count == 0:
            return overlap, chosen, claimed
        for first in range(0, boxes.shape[0], CHUNK):
            overlaps = self.iou_calculator(boxes[first : first + CHUNK], priors).float()
            largest, which = overlaps.max(0)
            better = largest > overlap
            overlap, chosen = torch.where(better, largest, overlap), torch.where(better, which + first, chosen)
            if self.match_low_quality:
                of_box = overlaps.amax(1, keepdim=True)
                enough = torch.where((of_box >= self.min_pos_iou) & (of_box > 0), of_box, torch.inf)
                index = torch.arange(first, first + len(of_box), dtype=torch.int32, device=of_box.device)[:, None]
                claimed = torch.maximum(claimed, torch.where(overlaps == enough, index, nobody).amax(0))
        return overlap, chosen, claimed

    def _covered(self, priors: Tensor, regions: Tensor) -> Tensor:
        """Mask ``(P,)`` of priors that lie in one of the regions ``(I, 5)``."""
        covered = priors.new_zeros(priors.shape[0], dtype=torch.bool)
        for some in regions.split(CHUNK):
            if len(some):
                covered |= (self.iou_calculator(priors, some, mode='iof') > self.ignore_iof_thr).any(1)
        return covered

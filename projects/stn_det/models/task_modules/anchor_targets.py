"""What oriented anchors should predict, from any assigner of mmdet's kind."""

from typing import NamedTuple

import torch
from mmdet.models.task_modules.assigners import BaseAssigner
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor


class AnchorTargets(NamedTuple):
    """Targets of P anchors of one image, or (N, P) of a batch.

    Attributes:
        labels: (P,) int64 classes, the number of classes for background and for what bears no loss.
        boxes: (P, 5) the box of a positive anchor, pixels and radians; zeros elsewhere.
        bears_loss: (P,) bool, whether the class of an anchor is known.
    """

    labels: Tensor
    boxes: Tensor
    bears_loss: Tensor


@torch.no_grad()
def anchor_targets(
    anchors: Tensor, truth: InstanceData, ignored: InstanceData | None, assigner: BaseAssigner, num_classes: int
) -> AnchorTargets:
    """Targets of the anchors of one image.

    Args:
        anchors: (P, 5) boxes, pixels and radians.
        truth: ``bboxes`` (M, 5) in the same frame and ``labels`` (M,).
        ignored: ``bboxes`` (I, 5) of regions where nothing is known, or None.
        assigner: gives each anchor a box of the truth, background, or nothing.
        num_classes: number of foreground classes, which is the label of background.
    """
    known = InstanceData(bboxes=_boxes(truth, anchors), labels=truth.labels.long())
    unknown = None if ignored is None else InstanceData(bboxes=_boxes(ignored, anchors))
    found = assigner.assign(InstanceData(priors=anchors), known, unknown)
    # A row for "no box" in front, so that nothing depends on whether there are boxes or positive anchors.
    row = found.gt_inds.clamp(min=0)
    labels = torch.cat([known.labels.new_full((1,), num_classes), known.labels])[row]
    boxes = torch.cat([known.bboxes.new_zeros((1, 5)), known.bboxes])[row]
    return AnchorTargets(labels, boxes, found.gt_inds >= 0)


def _boxes(instances: InstanceData, like: Tensor) -> Tensor:
    boxes: Tensor = get_box_tensor(instances.bboxes).to(like).reshape(-1, 5)
    return boxes

"""Regions that bear a loss, chosen from proposals."""

import torch
from mmdet.models.task_modules.assigners import BaseAssigner
from mmdet.models.task_modules.samplers import BaseSampler, SamplingResult
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from ...geometry import rbox_to_hbox


def sample_regions(
    assigner: BaseAssigner,
    sampler: BaseSampler,
    regions: Tensor,
    truth: InstanceData,
    ignored: InstanceData | None = None,
) -> SamplingResult:
    """Assign proposals to oriented truth and sample from them.

    Horizontal proposals are compared with the horizontal boxes around the truth, oriented ones with the truth itself.
    Where the sampler adds the truth to the proposals, it adds what they are compared with.

    Args:
        assigner: compares boxes of the kind of the proposals.
        sampler: draws from the assigned proposals.
        regions: ``(R, 4)`` or ``(R, 5)`` proposals in pixels; a gradient goes through to the sampled ones.
        truth: ``bboxes`` ``(M, 5)``, ``labels`` ``(M,)`` and perhaps ``headings`` ``(M,)``, radians.
        ignored: ``bboxes`` ``(I, 5)`` of regions that bear no loss, or None.

    Returns:
        mmdet's result; its ``pos_gt_bboxes`` are ``(P, 5)`` oriented boxes for either kind of proposals, and it has
        ``pos_gt_headings`` ``(P,)`` if the truth has headings.
    """
    boxes = get_box_tensor(truth.bboxes).to(regions.dtype).reshape(-1, 5)
    horizontal = regions.shape[1] == 4
    like = InstanceData(bboxes=rbox_to_hbox(boxes) if horizontal else boxes, labels=truth.labels)
    if ignored is not None:
        areas = get_box_tensor(ignored.bboxes).to(regions.dtype).reshape(-1, 5)
        ignored = InstanceData(bboxes=rbox_to_hbox(areas) if horizontal else areas)
    with torch.autocast(regions.device.type, enabled=False):
        found = assigner.assign(InstanceData(priors=regions.detach()), like, ignored)
        result = sampler.sample(found, InstanceData(priors=regions), like)
    result.pos_gt_bboxes = boxes[result.pos_assigned_gt_inds]
    if 'headings' in truth:
        result.pos_gt_headings = truth.headings[result.pos_assigned_gt_inds]
    return result

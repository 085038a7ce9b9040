"""Arguments, schema and result that the compiled NMS operators share."""

import torch
from torch import Tensor

from stn_det.checks import check_float_shape, check_fraction, check_length, check_same_device, check_shape
from stn_det.errors import InputError
from stn_det.ops._library import define


def check_nms_arguments(
    name: str, boxes: Tensor, size: int, scores: Tensor, iou_threshold: float, labels: Tensor | None
) -> None:
    """Check what all NMS operators take: boxes (M, size), scores (M,), a threshold and labels (M,) or None."""
    check_float_shape(name, boxes, ('M', size))
    check_float_shape('scores', scores, ('M',))
    check_length('scores', scores, boxes.shape[0], name)
    check_fraction('iou_threshold', iou_threshold)
    if labels is not None:
        check_shape('labels', labels, ('M',))
        check_length('labels', labels, boxes.shape[0], name)
        if labels.is_floating_point():
            raise InputError(f'labels has dtype {labels.dtype}, expected an integer dtype; call labels.long()')
    check_same_device(**{name: boxes, 'scores': scores, 'labels': labels})


def define_suppression(name: str) -> None:
    """Declare ``name(boxes, order, labels, iou_threshold) -> owner``, all of length M.

    The owner of a box is the kept box that drops it, or itself when it is kept, or -1 when it takes no part.
    """
    define(f'{name}(Tensor boxes, Tensor order, Tensor labels, float iou_threshold) -> Tensor', _fake)


def _fake(boxes: Tensor, order: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    return order.new_empty(order.shape)


def claims(
    name: str, boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Order of the visits (M,) and owners (M,) by a compiled operator; boxes with a NaN score take no part."""
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes.masked_fill(scores.isnan()[:, None], torch.nan)
    groups = torch.zeros_like(order) if labels is None else labels.long()
    # Labels do not see each other, so they may be visited one after the other: a GPU skips whole blocks of pairs then.
    visits = order[groups[order].argsort(stable=True)] if labels is not None and boxes.is_cuda else order
    return order, getattr(torch.ops.stn_det, name)(boxes, visits, groups, float(iou_threshold))


def kept(order: Tensor, owner: Tensor) -> Tensor:
    """Indices (K,) of the kept boxes in the order of the visits."""
    return order[owner[order] == order]

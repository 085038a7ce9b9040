"""Overlaps and non-maximum suppression, with the call signatures of mmcv's extension."""

from collections.abc import Callable

from torch import Tensor

from stn_det import ops

_MODES = ('iou', 'iof')
_SOFT_METHODS = ('naive', 'linear', 'gaussian')


def bbox_overlaps(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int) -> None:
    """Write the overlap of axis-aligned boxes (M, 4) and (N, 4) into ``ious``, (M, N) or (M,) when aligned."""
    first = bboxes1 if aligned else bboxes1[:, None]
    top_left = first[..., :2].maximum(bboxes2[..., :2])
    bottom_right = first[..., 2:].minimum(bboxes2[..., 2:])
    intersection = (bottom_right - top_left + offset).clamp(min=0).prod(-1)
    reference = (first[..., 2:] - first[..., :2] + offset).prod(-1)
    if _MODES[mode] == 'iou':
        reference = reference + (bboxes2[..., 2:] - bboxes2[..., :2] + offset).prod(-1) - intersection
    ious.copy_(intersection / reference)


def box_iou_rotated(boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool) -> None:
    """Write the overlap of rotated boxes (M, 5) and (N, 5) into the flat ``ious``."""
    ious.copy_(ops.box_iou_rotated(boxes1, boxes2, aligned=aligned, mode=_MODES[mode_flag]).reshape(ious.shape))


def box_iou_quadri(boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool) -> None:
    """Write the overlap of quadrilaterals (M, 8) and (N, 8) into the flat ``ious``."""
    ious.copy_(ops.quadri_iou(boxes1, boxes2, aligned=aligned, mode=_MODES[mode_flag]).reshape(ious.shape))


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes (M, 4) that survive, by falling score; with ``offset`` 1 a box includes its last pixel."""
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return ops.nms(boxes, scores, _threshold(iou_threshold))


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Write the visited boxes with lowered scores into the head of ``dets`` (M, 5); returns their indices (K,)."""
    kept, index = ops.soft_nms(boxes, scores, iou_threshold, sigma, min_score, _SOFT_METHODS[method], offset)
    dets[: len(kept)] = kept
    return index


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups of detections (M, 5): a box that survives, then those that it suppresses, by falling score."""
    return [group.tolist() for group in ops.nms_match(dets, _threshold(iou_threshold))]


def nms_rotated(
    dets: Tensor,
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    labels: Tensor,
    iou_threshold: float,
    multi_label: int,
) -> Tensor:
    """Indices of the rotated boxes that survive, by falling score.

    With ``multi_label`` only boxes of one label suppress each other, as mmcv's documentation says; mmcv's own kernels
    never read the labels.
    """
    classes = labels.long() if multi_label else None
    return ops.nms_rotated(dets[:, :5], scores, _threshold(iou_threshold), labels=classes)


def nms_quadri(
    dets: Tensor, scores: Tensor, order: Tensor, dets_sorted: Tensor, iou_threshold: float, multi_label: int
) -> Tensor:
    """Indices of the quadrilaterals that survive, by falling score; the label is column 8 of ``dets``."""
    classes = dets[:, 8].long() if multi_label else None
    return ops.nms_quadri(dets[:, :8], scores, _threshold(iou_threshold), labels=classes)


def _threshold(iou_threshold: float) -> float:
    """mmcv takes any number and people write 2 to switch suppression off; no overlap exceeds 1."""
    return min(iou_threshold, 1.0)


OPERATORS: dict[str, Callable[..., object]] = {
    'bbox_overlaps': bbox_overlaps,
    'box_iou_rotated': box_iou_rotated,
    'box_iou_quadri': box_iou_quadri,
    'nms': nms,
    'softnms': softnms,
    'nms_match': nms_match,
    'nms_rotated': nms_rotated,
    'nms_quadri': nms_quadri,
}

"""The truth that each detection overlaps most, for one class over all images.

Only pairs whose axis-aligned boxes meet reach the exact polygon IoU, all images in one list, so the cost follows the
number of objects that touch and not detections times truths.
"""

import numpy as np
import torch

from stn_det.errors import InputError
from stn_det.geometry import qbox_to_hbox, rbox_to_hbox
from stn_det.ops import box_iou_quadri, box_iou_rotated, quadri_iou

from .records import QBOX_DIM

PAIRS_AT_ONCE = 65536
MATRIX_AT_ONCE = 4_000_000


def boxes_to_hboxes(boxes: np.ndarray) -> np.ndarray:
    """Axis-aligned hulls (N, 4) of (N, 5) rboxes or (N, 8) qboxes."""
    convert = qbox_to_hbox if boxes.shape[1] == QBOX_DIM else rbox_to_hbox
    return np.asarray(convert(torch.from_numpy(boxes)).numpy())


def stack_boxes(boxes: list[np.ndarray], name: str) -> np.ndarray:
    """Join the boxes of several images, which all must have one form.

    Raises:
        InputError: rboxes and qboxes are mixed.
    """
    filled = [part for part in boxes if len(part)]
    if not filled:
        return np.zeros((0, 5))
    if len({part.shape[1] for part in filled}) > 1:
        raise InputError(f'{name} boxes mix rows of 5 and of 8 numbers between images; use one form for all images')
    return np.concatenate(filled)


def aligned_ious(boxes: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """IoU (P,) of the rows of ``boxes`` (P, 5|8) with the rows of ``truths`` (P, 5|8), in float64."""
    ious = np.empty(len(boxes))
    for start in range(0, len(boxes), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        first, second = torch.from_numpy(boxes[part]), torch.from_numpy(truths[part])
        if boxes.shape[1] == QBOX_DIM and truths.shape[1] == QBOX_DIM:
            value = quadri_iou(first, second, aligned=True)
        elif truths.shape[1] == QBOX_DIM:
            value = box_iou_quadri(first, second, aligned=True)
        elif boxes.shape[1] == QBOX_DIM:
            value = box_iou_quadri(second, first, aligned=True)
        else:
            value = box_iou_rotated(first, second, aligned=True)
        ious[part] = value.numpy()
    return ious


def _touching(hulls: np.ndarray, truth_hulls: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index pairs of axis-aligned boxes (K, 4) and (G, 4) that share some area."""
    rows = max(1, MATRIX_AT_ONCE // max(1, len(truth_hulls)))
    pairs = []
    for start in range(0, len(hulls), rows):
        box = hulls[start : start + rows, None]
        low = np.maximum(box[..., :2], truth_hulls[None, :, :2])
        high = np.minimum(box[..., 2:], truth_hulls[None, :, 2:])
        first, second = np.nonzero((high > low).all(axis=-1))
        pairs.append((first + start, second))
    return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])


def _candidate_pairs(
    hulls: np.ndarray, images: np.ndarray, truth_hulls: np.ndarray, truth_images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (detection, truth) of the same image whose hulls meet; both image columns must be non-decreasing."""
    firsts, seconds = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for image in np.intersect1d(images, truth_images):
        start, stop = np.searchsorted(images, [image, image + 1])
        truth_start, truth_stop = np.searchsorted(truth_images, [image, image + 1])
        first, second = _touching(hulls[start:stop], truth_hulls[truth_start:truth_stop])
        firsts.append(first + start)
        seconds.append(second + truth_start)
    return np.concatenate(firsts), np.concatenate(seconds)


def best_truths(
    boxes: np.ndarray, images: np.ndarray, truths: np.ndarray, truth_images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find for each detection the truth of its image with the largest IoU (the first of equals).

    Args:
        boxes: (D, 5|8) detections of one class.
        images: (D,) image index of each, non-decreasing.
        truths: (G, 5|8) truths of that class.
        truth_images: (G,) image index of each, non-decreasing.

    Returns:
        ``iou`` (D,) and ``truth`` (D,), the row in ``truths`` or -1 where nothing overlaps.
    """
    best_iou, best = np.zeros(len(boxes)), np.full(len(boxes), -1, dtype=np.int64)
    if len(boxes) == 0 or len(truths) == 0:
        return best_iou, best
    first, second = _candidate_pairs(boxes_to_hboxes(boxes), images, boxes_to_hboxes(truths), truth_images)
    iou = aligned_ious(boxes[first], truths[second])
    overlapping = iou > 0
    first, second, iou = first[overlapping], second[overlapping], iou[overlapping]
    order = np.lexsort((second, -iou, first))
    owner, where = np.unique(first[order], return_index=True)
    best_iou[owner] = iou[order][where]
    best[owner] = second[order][where]
    return best_iou, best

"""Which detections are true, false or neither, by the rule of PASCAL VOC and of the DOTA benchmark.

All detections of a class, over all images, go by falling score (equal scores in their given order). Each takes the
truth of its image with the largest IoU, ignored truths included. Where that IoU is **greater than** the threshold (an
IoU of exactly 0.5 is no match at 0.5, as in the DOTA development kit, https://github.com/CAPTAIN-WHU/DOTA_devkit) it is

- neither true nor false if the truth is ignored (difficult),
- a true positive if no better-scored detection took the truth,
- a false positive otherwise: a duplicate does not move on to the second best truth.

Every other detection is a false positive. As the best truth does not depend on the threshold, IoUs are computed once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stn_det.errors import InputError
from stn_det.geometry import qbox_area, rbox_area

from .overlaps import best_truths, stack_boxes
from .records import QBOX_DIM, Detections, Truths

TRUE_POSITIVE, FALSE_POSITIVE, IGNORED = 1, 0, -1


@dataclass(frozen=True)
class ClassMatches:
    """Matches of one class over all images; detections by falling score.

    Args:
        scores: (D,) confidences.
        images: (D,) index of the image of each detection.
        indices: (D,) row of each detection among its image's detections.
        ious: (D,) IoU with its best truth, 0 without one.
        truths: (D,) its best truth, a row in the three arrays below, or -1.
        sizes: (D,) side in pixels of the square of equal area.
        truth_images: (G,) index of the image of each truth.
        truth_indices: (G,) row of each truth among its image's truths.
        truth_ignored: (G,) True where a truth counts neither way.
        truth_sizes: (G,) side in pixels of the square of equal area.
    """

    scores: np.ndarray
    images: np.ndarray
    indices: np.ndarray
    ious: np.ndarray
    truths: np.ndarray
    sizes: np.ndarray
    truth_images: np.ndarray
    truth_indices: np.ndarray
    truth_ignored: np.ndarray
    truth_sizes: np.ndarray

    def outcomes(self, iou_threshold: float, size_range: tuple[float, float] | None = None) -> np.ndarray:
        """Judge every detection at one IoU threshold.

        Args:
            iou_threshold: IoU that a match must exceed.
            size_range: ``(low, high)`` pixels; truths whose size is not in [low, high) are ignored, and so are false
                positives of such a size.

        Returns:
            (D,) int8 of ``TRUE_POSITIVE``, ``FALSE_POSITIVE``, ``IGNORED``.
        """
        ignored = self.truth_ignored
        outcome = np.full(len(self.scores), FALSE_POSITIVE, dtype=np.int8)
        if size_range is not None:
            ignored = ignored | ~_inside(self.truth_sizes, size_range)
        matched = np.flatnonzero((self.ious > iou_threshold) & (self.truths >= 0))
        outcome[matched[ignored[self.truths[matched]]]] = IGNORED
        countable = matched[~ignored[self.truths[matched]]]
        _, first = np.unique(self.truths[countable], return_index=True)
        outcome[countable[first]] = TRUE_POSITIVE
        if size_range is not None:
            outcome[(outcome == FALSE_POSITIVE) & ~_inside(self.sizes, size_range)] = IGNORED
        return outcome

    def num_truths(self, size_range: tuple[float, float] | None = None) -> int:
        """Number of truths that count, optionally of one range of sizes."""
        counted = ~self.truth_ignored
        if size_range is not None:
            counted = counted & _inside(self.truth_sizes, size_range)
        return int(counted.sum())


def _inside(sizes: np.ndarray, size_range: tuple[float, float]) -> np.ndarray:
    return np.asarray((sizes >= size_range[0]) & (sizes < size_range[1]))


def _sizes(boxes: np.ndarray) -> np.ndarray:
    """Side in pixels (N,) of the square of equal area."""
    area = qbox_area if boxes.shape[1] == QBOX_DIM else rbox_area
    return np.sqrt(np.abs(area(torch.from_numpy(boxes)).numpy()))


def _pool(items: Sequence[Detections | Truths], label: int, name: str) -> tuple[np.ndarray, ...]:
    """Boxes of one class over all images, with image index and row of each."""
    rows = [np.flatnonzero(item.labels == label) for item in items]
    boxes = stack_boxes([item.boxes[row] for item, row in zip(items, rows)], name)
    images = np.repeat(np.arange(len(items)), [len(row) for row in rows])
    return boxes, images, np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)


def match_detections(detections: Sequence[Detections], truths: Sequence[Truths], label: int) -> ClassMatches:
    """Assign the detections of one class to their best truths.

    Args:
        detections: one entry per image.
        truths: one entry per image, in the same order.
        label: class index.

    Returns:
        The matches, to be judged at any threshold by :meth:`ClassMatches.outcomes`.

    Raises:
        InputError: the two sequences differ in length.
    """
    if len(detections) != len(truths):
        raise InputError(f'{len(detections)} images have detections and {len(truths)} have truths; expected the same')
    boxes, images, indices = _pool(detections, label, 'detection')
    truth_boxes, truth_images, truth_indices = _pool(truths, label, 'truth')
    ious, best = best_truths(boxes, images, truth_boxes, truth_images)
    scores = np.concatenate([item.scores[item.labels == label] for item in detections] or [np.zeros(0)])
    order = np.argsort(-scores, kind='stable')
    flags = [item.ignored[item.labels == label] for item in truths if item.ignored is not None]
    return ClassMatches(
        scores=scores[order],
        images=images[order],
        indices=indices[order],
        ious=ious[order],
        truths=best[order],
        sizes=_sizes(boxes)[order],
        truth_images=truth_images,
        truth_indices=truth_indices,
        truth_ignored=np.concatenate(flags or [np.zeros(0, dtype=bool)]),
        truth_sizes=_sizes(truth_boxes),
    )


def match_image(detections: Detections, truths: Truths, iou_threshold: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Judge the detections of one image alone, all classes, as a picture of it needs.

    Args:
        detections: K detections.
        truths: G truths.
        iou_threshold: IoU that a match must exceed.

    Returns:
        ``outcomes`` (K,) int8 as in :meth:`ClassMatches.outcomes`, and ``found`` (G,) True for truths that a true
        positive took.
    """
    outcomes = np.full(len(detections.boxes), FALSE_POSITIVE, dtype=np.int8)
    found = np.zeros(len(truths.boxes), dtype=bool)
    for label in np.unique(detections.labels):
        matches = match_detections([detections], [truths], int(label))
        outcome = matches.outcomes(iou_threshold)
        outcomes[matches.indices] = outcome
        found[matches.truth_indices[matches.truths[outcome == TRUE_POSITIVE]]] = True
    return outcomes, found

"""Average precision of oriented boxes for every class, threshold and range of sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stn_det.errors import InputError

from .average_precision import average_precision, check_ap_mode
from .matching import IGNORED, TRUE_POSITIVE, ClassMatches, match_detections
from .records import Detections, Truths

COCO_IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


def precision_recall(outcomes: np.ndarray, num_truths: int) -> tuple[np.ndarray, np.ndarray]:
    """Curve of a ranked list.

    Args:
        outcomes: (D,) judgements by falling score, see :meth:`ClassMatches.outcomes`.
        num_truths: number of truths that count.

    Returns:
        ``recall`` (D,) and ``precision`` (D,) after each detection; recall is NaN without truths, precision is 0 before
        the first detection that counts.
    """
    true = np.cumsum(outcomes == TRUE_POSITIVE)
    counted = np.cumsum(outcomes != IGNORED)
    recall = true / num_truths if num_truths else np.full(len(true), np.nan)
    return recall, true / np.maximum(counted, 1)


@dataclass(frozen=True)
class ClassResult:
    """Result of one class.

    Args:
        label: class index.
        num_truths: truths that count (not ignored).
        num_detections: detections of the class.
        ap: (T,) average precision per IoU threshold; NaN without truths, 0 without detections.
        recall: (T,) recall of all detections together; NaN without truths.
        ap_by_size: name of a range of sizes -> (T,).
        matches: assignment that the figures come from, for curves and pictures.
    """

    label: int
    num_truths: int
    num_detections: int
    ap: np.ndarray
    recall: np.ndarray
    matches: ClassMatches
    ap_by_size: Mapping[str, np.ndarray] = field(default_factory=dict)

    def curve(self, iou_threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Recall (D,) and precision (D,) at one IoU threshold."""
        return precision_recall(self.matches.outcomes(iou_threshold), self.num_truths)


@dataclass(frozen=True)
class MeanAPResult:
    """Results of all classes.

    Args:
        iou_thresholds: (T,) thresholds.
        classes: one result per class, by class index.
    """

    iou_thresholds: tuple[float, ...]
    classes: tuple[ClassResult, ...]

    @property
    def mean_ap(self) -> np.ndarray:
        """Mean over the classes that have truths, (T,); NaN if none has."""
        return _mean_over_classes([result.ap for result in self.classes], len(self.iou_thresholds))

    def mean_ap_by_size(self, name: str) -> np.ndarray:
        """Mean over the classes that have truths of a range of sizes, (T,); NaN if none has."""
        return _mean_over_classes([result.ap_by_size[name] for result in self.classes], len(self.iou_thresholds))

    def threshold_index(self, iou_threshold: float) -> int | None:
        """Position of a threshold, or None if it was not asked for."""
        close = np.flatnonzero(np.isclose(self.iou_thresholds, iou_threshold, rtol=0, atol=1e-6))
        return int(close[0]) if len(close) else None


def _mean_over_classes(values: Sequence[np.ndarray], num_thresholds: int) -> np.ndarray:
    with_truths = [value for value in values if not np.isnan(value).any()]
    return np.mean(with_truths, axis=0) if with_truths else np.full(num_thresholds, np.nan)


def _ap_per_threshold(
    matches: ClassMatches, thresholds: Sequence[float], ap_mode: str, size_range: tuple[float, float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """AP (T,) and recall (T,) of one class."""
    num_truths = matches.num_truths(size_range)
    if num_truths == 0:
        return np.full(len(thresholds), np.nan), np.full(len(thresholds), np.nan)
    ap, recall = np.zeros(len(thresholds)), np.zeros(len(thresholds))
    for index, threshold in enumerate(thresholds):
        curve, precision = precision_recall(matches.outcomes(threshold, size_range), num_truths)
        ap[index] = average_precision(curve, precision, ap_mode)
        recall[index] = curve[-1] if len(curve) else 0.0
    return ap, recall


def _check_labels(items: Sequence[Detections | Truths], num_classes: int, name: str) -> None:
    for image, item in enumerate(items):
        wrong = item.labels[(item.labels < 0) | (item.labels >= num_classes)]
        if len(wrong):
            raise InputError(
                f'{name} of image {image} holds class index {int(wrong[0])}, expected 0 to {num_classes - 1}; '
                f'the model, the dataset and num_classes={num_classes} must name the same classes'
            )


def eval_oriented_map(
    predictions: Sequence[Detections],
    truths: Sequence[Truths],
    num_classes: int,
    iou_thresholds: Sequence[float] = COCO_IOU_THRESHOLDS,
    ap_mode: str = 'area',
    size_ranges: Mapping[str, tuple[float, float]] | None = None,
) -> MeanAPResult:
    """Evaluate oriented detections by the rule of the DOTA benchmark (see :mod:`.matching`).

    Truths given as quadrilaterals are compared as they are, not as their enclosing rectangles. Classes without a truth
    that counts have NaN and are left out of every mean; classes with truths and no detection have 0.
    Benchmark: DOTA: A Large-scale Dataset for Object Detection in Aerial Images, https://arxiv.org/abs/1711.10398

    Args:
        predictions: one entry per image.
        truths: one entry per image, in the same order and pixel frame.
        num_classes: number of classes C; labels are 0 to C - 1.
        iou_thresholds: T thresholds in [0, 1); a match must exceed them.
        ap_mode: ``'area'`` or ``'11points'``, see :func:`average_precision`.
        size_ranges: name -> (low, high) in pixels of sqrt(area), for AP by size of object.

    Returns:
        AP and recall per class and threshold, with the matches behind them.

    Raises:
        InputError: counts of images differ, a label outside 0 to C - 1, thresholds outside [0, 1), unknown mode.
    """
    check_ap_mode(ap_mode)
    thresholds = tuple(float(threshold) for threshold in iou_thresholds)
    if not thresholds or not all(0 <= threshold < 1 for threshold in thresholds):
        raise InputError(f'iou_thresholds are {thresholds}; expected one or more numbers in [0, 1)')
    _check_labels(predictions, num_classes, 'prediction')
    _check_labels(truths, num_classes, 'truth')
    results = []
    for label in range(num_classes):
        matches = match_detections(predictions, truths, label)
        ap, recall = _ap_per_threshold(matches, thresholds, ap_mode)
        by_size = {
            name: _ap_per_threshold(matches, thresholds, ap_mode, size_range)[0]
            for name, size_range in (size_ranges or {}).items()
        }
        results.append(ClassResult(label, matches.num_truths(), len(matches.scores), ap, recall, matches, by_size))
    return MeanAPResult(thresholds, tuple(results))

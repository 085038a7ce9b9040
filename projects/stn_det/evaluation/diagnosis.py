"""Likely causes of an evaluation in which nothing was found."""

from collections.abc import Sequence

import numpy as np

from .functional import Detections, Truths, match_image
from .functional.overlaps import boxes_to_hboxes
from .functional.records import RBOX_DIM

TRAIN_LONGER = 'a model that has hardly trained: look at the loss curve and at pictures of the predictions'


def _without_labels(detections: Detections, truths: Truths) -> tuple[Detections, Truths]:
    zeros, truth_zeros = np.zeros(len(detections.boxes)), np.zeros(len(truths.boxes))
    return Detections(detections.boxes, detections.scores, zeros), Truths(truths.boxes, truth_zeros)


def _found_whatever_the_class(detections: Sequence[Detections], truths: Sequence[Truths]) -> float:
    """Share of the truths that some detection of any class finds at IoU 0.3."""
    found, total = 0, 0
    for detection, truth in zip(detections, truths):
        found += int(match_image(*_without_labels(detection, truth), 0.3)[1].sum())
        total += len(truth.boxes)
    return found / max(total, 1)


def _extent(items: Sequence[Detections | Truths]) -> float:
    """Coordinate in pixels that one box edge in fifty exceeds."""
    edges = [boxes_to_hboxes(item.boxes).max(axis=1) for item in items if len(item.boxes)]
    return float(np.percentile(np.concatenate(edges), 98))


def _frame_causes(detections: Sequence[Detections], truths: Sequence[Truths]) -> list[str]:
    extent, truth_extent = _extent(detections), _extent(truths)
    if extent <= 2 < truth_extent:
        return ['predictions in [0, 1] instead of pixels: multiply by the image size (rescale=True in predict)']
    ratio = extent / max(truth_extent, 1e-9)
    if not 0.67 < ratio < 1.5:
        return [
            f'different frames: prediction coordinates reach {extent:.0f} px and truth coordinates {truth_extent:.0f} '
            'px; put LoadAnnotations after Resize in the test pipeline, and predict with rescale=True'
        ]
    return []


def _angle_causes(items: Sequence[Detections | Truths], name: str) -> list[str]:
    angles = [item.boxes[:, 4] for item in items if item.boxes.shape[1] == RBOX_DIM and len(item.boxes)]
    if angles and np.abs(np.concatenate(angles)).max() > 2 * np.pi + 1e-3:
        return [f'{name} angles in degrees (largest {np.abs(np.concatenate(angles)).max():.0f}); expected radians']
    return []


def likely_causes(detections: Sequence[Detections], truths: Sequence[Truths], classes: Sequence[str]) -> list[str]:
    """Look at the data of an all-zero evaluation and name what would explain it, most likely first.

    Args:
        detections: one entry per image.
        truths: one entry per image.
        classes: class names by label.

    Returns:
        One sentence per cause; empty if there is neither a truth nor a detection to judge by.
    """
    num_truths, num_detections = sum(len(t.boxes) for t in truths), sum(len(d.boxes) for d in detections)
    if num_truths == 0:
        return [
            f'no truth in any of {len(truths)} images: the class names of the annotations differ from {tuple(classes)} '
            '(spelling, capitals, hyphens), or ann_file points to an empty folder'
        ]
    if num_detections == 0:
        return [f'no detection at all: score_thr in test_cfg is too high, or {TRAIN_LONGER}']
    causes = _angle_causes(detections, 'prediction') + _angle_causes(truths, 'truth')
    causes += _frame_causes(detections, truths)
    share = _found_whatever_the_class(detections, truths)
    if share > 0.1:
        causes.append(
            f'class order: {100 * share:.0f} % of the truths are found when class labels are disregarded; the classes '
            f'that the model was trained with and {tuple(classes)} are probably in a different order'
        )
    return causes or [TRAIN_LONGER]

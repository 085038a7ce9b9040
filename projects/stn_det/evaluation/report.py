"""Evaluation results as a plain text table."""

from collections.abc import Sequence

import numpy as np

from .functional import MeanAPResult


def _number(value: float) -> str:
    return '-' if np.isnan(value) else f'{100 * value:.2f}'


def _column(result: MeanAPResult, values: np.ndarray, threshold: float) -> str:
    index = result.threshold_index(threshold)
    return '-' if index is None else _number(float(values[index]))


def format_table(result: MeanAPResult, classes: Sequence[str]) -> str:
    """Format one line a class, and the mean, in percent; ``-`` where a figure does not exist.

    Recall is that of all detections at the first IoU threshold; AP is the mean over all thresholds.

    Args:
        result: evaluation of C classes.
        classes: C names.

    Returns:
        Text of several lines.
    """
    rows = [('class', 'gts', 'dets', 'recall', 'AP50', 'AP75', 'AP')]
    for name, item in zip(classes, result.classes):
        average = (_column(result, item.ap, 0.5), _column(result, item.ap, 0.75), _number(float(item.ap.mean())))
        rows.append((name, str(item.num_truths), str(item.num_detections), _number(float(item.recall[0])), *average))
    recalls = [item.recall[0] for item in result.classes if item.num_truths]
    mean = result.mean_ap
    rows.append(
        (
            'mean',
            str(sum(item.num_truths for item in result.classes)),
            str(sum(item.num_detections for item in result.classes)),
            _number(float(np.mean(recalls)) if recalls else np.nan),
            _column(result, mean, 0.5),
            _column(result, mean, 0.75),
            _number(float(mean.mean())),
        )
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        '  '.join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in rows
    ]
    rule = '-' * len(lines[0])
    return '\n'.join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

"""Average precision of one ranked list of detections."""

import numpy as np

from stn_det.errors import InputError

AP_MODES = ('area', '11points')


def check_ap_mode(mode: str) -> str:
    """Return ``mode`` if it is a known interpolation.

    Raises:
        InputError: it is not.
    """
    if mode not in AP_MODES:
        raise InputError(f"ap_mode is {mode!r}; expected 'area' (VOC 2010 and later) or '11points' (VOC 2007)")
    return mode


def average_precision(recall: np.ndarray, precision: np.ndarray, mode: str = 'area') -> float:
    """Summarise a precision-recall curve in one number.

    ``'area'`` integrates the envelope (precision made non-increasing from the right) over recall. ``'11points'`` is the
    mean of the best precision at recall 0, 0.1, ..., 1 or beyond; the levels are ``k * 0.1`` in floating point, so that
    a recall of exactly 3/10 lies just below the fourth level, as in the DOTA development kit that the benchmark's
    figures come from. Definitions: The PASCAL Visual Object Classes Challenge, http://host.robots.ox.ac.uk/pascal/VOC/

    Args:
        recall: (D,) recall after each detection, by falling score.
        precision: (D,) precision after each detection.
        mode: ``'area'`` or ``'11points'``.

    Returns:
        Average precision in [0, 1]; 0 for an empty curve.

    Raises:
        InputError: unknown mode, or curves of different shapes.
    """
    check_ap_mode(mode)
    recall, precision = np.asarray(recall, dtype=np.float64), np.asarray(precision, dtype=np.float64)
    if recall.ndim != 1 or recall.shape != precision.shape:
        raise InputError(f'recall and precision have shapes {recall.shape} and {precision.shape}; expected (D,) twice')
    if recall.size == 0:
        return 0.0
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if mode == 'area':
        return float(np.sum(np.diff(recall, prepend=0.0) * envelope))
    position = np.searchsorted(recall, np.arange(11) * 0.1, side='left')
    reached = position < len(recall)
    return float(envelope[position[reached]].sum() / 11)

"""What the transforms of this package share: checks of the sample, selection of instances, bookkeeping."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.structures.bbox import BaseBoxes, get_box_type
from torch import Tensor

import stn_det.structures  # noqa: F401  registers 'rbox' and 'qbox' with mmdet
from stn_det.errors import ConfigError, InputError

_NOT_PER_INSTANCE = ('gt_seg_map',)
_NOT_MOVED = ('gt_masks', 'gt_seg_map')


def box_type_name(boxes: BaseBoxes) -> str:
    """Return the registered name of the type of ``boxes``: 'hbox', 'rbox' or 'qbox'."""
    return get_box_type(type(boxes))[0]


def check_sample(results: dict[str, Any], transform: str, box_types: Sequence[str]) -> None:
    """See that a transform can handle a sample.

    Args:
        results: Sample of a pipeline, with ``img`` and perhaps ``gt_bboxes``.
        transform: Name of the transform, for the message.
        box_types: Names of the box types that it handles.

    Raises:
        InputError: There is no image, or the boxes are of another type.
        ConfigError: The sample holds masks or a segmentation map, which would no longer fit the image.
    """
    if not isinstance(results.get('img'), np.ndarray):
        raise InputError(f'{transform}: the sample has no image in results["img"]. Put LoadCheckedImage before it.')
    held = [key for key in _NOT_MOVED if results.get(key) is not None]
    if held:
        raise ConfigError(
            f'{transform}: the sample holds {held}, which this transform does not move. '
            'Load boxes only: LoadAnnotations(with_bbox=True, with_mask=False, with_seg=False).'
        )
    boxes = results.get('gt_bboxes')
    if boxes is None:
        return
    if not isinstance(boxes, BaseBoxes):
        raise InputError(
            f'{transform}: gt_bboxes is {type(boxes).__name__}, expected mmdet boxes. Set box_type in LoadAnnotations.'
        )
    if box_type_name(boxes) not in box_types:
        raise InputError(
            f"{transform}: gt_bboxes is of type '{box_type_name(boxes)}', expected one of {tuple(box_types)}. "
            "Put dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')) before it."
        )


def instance_keys(results: dict[str, Any]) -> list[str]:
    """Names of the entries that hold one item for each box, ``gt_bboxes`` among them."""
    boxes = results.get('gt_bboxes')
    if boxes is None:
        return []
    return [
        key
        for key, value in results.items()
        if key.startswith('gt_')
        and key not in _NOT_PER_INSTANCE
        and hasattr(value, '__len__')
        and len(value) == len(boxes)
    ]


def keep_instances(results: dict[str, Any], keep: Tensor) -> None:
    """Keep the instances where ``keep`` ``(N,)`` bool is true, in every per-instance entry at once."""
    chosen = keep.nonzero().flatten()
    for key in instance_keys(results):
        value = results[key]
        if isinstance(value, BaseBoxes | Tensor):
            results[key] = value[chosen]
        elif isinstance(value, np.ndarray):
            results[key] = value[chosen.numpy()]
        else:
            results[key] = type(value)(value[i] for i in chosen.tolist())


def ignore_flags(results: dict[str, Any]) -> Tensor:
    """Return the ignore flags as a ``(N,)`` bool tensor; all false when the sample has none."""
    flags = results.get('gt_ignore_flags')
    if flags is None:
        return torch.zeros(len(results['gt_bboxes']), dtype=torch.bool)
    return torch.as_tensor(np.asarray(flags, dtype=bool))


def apply_visibility(results: dict[str, Any], visible: Tensor, min_visibility: float, ignore_visibility: float) -> None:
    """Keep, ignore or drop instances by the fraction of their area that is still in view.

    Args:
        results: Sample, changed in place.
        visible: ``(N,)`` fractions in [0, 1]; NaN (a box without area) counts as 0.
        min_visibility: At or above it an instance keeps its flag.
        ignore_visibility: At or above it, and below ``min_visibility``, it becomes a region to ignore; below, it goes.
    """
    visible = visible.nan_to_num(0.0)
    flags = ignore_flags(results) | (visible < min_visibility)
    results['gt_ignore_flags'] = flags.numpy()
    # A box that only touches the window is never kept, whatever the thresholds.
    keep_instances(results, (visible >= ignore_visibility) & (visible > 0))


def visible_fraction(boxes: BaseBoxes, window: tuple[float, float, float, float]) -> Tensor:
    """Fraction of the area of each box inside a window.

    Args:
        boxes: N boxes of a type that has ``overlaps``: 'hbox', 'rbox' or 'qbox'.
        window: ``(x1, y1, x2, y2)`` in pixels.

    Returns:
        ``(N,)`` in [0, 1].
    """
    if len(boxes) == 0:
        return torch.zeros(0)
    hbox = get_box_type('hbox')[1](torch.tensor([window], dtype=torch.float32))
    view = hbox.convert_to(box_type_name(boxes))
    return type(boxes).overlaps(boxes, view, mode='iof').reshape(-1).clamp(0.0, 1.0)


def record_homography(results: dict[str, Any], matrix: np.ndarray) -> None:
    """Put a ``(3, 3)`` map of pixels, new from old, in front of the one the sample has, as mmdet's transforms do."""
    matrix = matrix.astype(np.float32)
    before = results.get('homography_matrix')
    results['homography_matrix'] = matrix if before is None else matrix @ before


def check_probability(prob: float, transform: str) -> float:
    """Return ``prob`` after checking that it lies in [0, 1].

    Raises:
        ConfigError: It does not.
    """
    if not 0 <= prob <= 1:
        raise ConfigError(f'{transform}: prob is {prob!r}, expected a probability from 0 to 1.')
    return prob


def check_visibility(min_visibility: float, ignore_visibility: float, transform: str) -> None:
    """Check the two thresholds of ``apply_visibility``.

    Raises:
        ConfigError: They are not in order within [0, 1].
    """
    if not 0 <= ignore_visibility <= min_visibility <= 1:
        raise ConfigError(
            f'{transform}: ignore_visibility is {ignore_visibility!r} and min_visibility {min_visibility!r}, '
            'expected 0 <= ignore_visibility <= min_visibility <= 1.'
        )

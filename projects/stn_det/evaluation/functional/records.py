"""What evaluation reads of one image: its detections and its truths, as checked float64 numpy arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stn_det.errors import InputError

RBOX_DIM, QBOX_DIM = 5, 8


def to_array(values: Any) -> np.ndarray:
    """Turn a tensor, an mmdet box object (anything with ``.tensor``) or a sequence into a numpy array on the CPU."""
    values = getattr(values, 'tensor', values)
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return values.double().numpy() if values.is_floating_point() else values.numpy()
    return np.asarray(values)


def _boxes(values: Any, name: str) -> np.ndarray:
    """Check and convert boxes to (N, 5) or (N, 8) float64; anything empty becomes (0, 5)."""
    boxes = to_array(values).astype(np.float64)
    if boxes.size == 0:
        return np.zeros((0, RBOX_DIM))
    if boxes.ndim != 2 or boxes.shape[1] not in (RBOX_DIM, QBOX_DIM):
        raise InputError(
            f'{name} boxes have shape {tuple(boxes.shape)}; expected (N, 5) rows (cx, cy, w, h, theta in radians) or '
            '(N, 8) rows of four corners. Load truths with LoadAnnotations(with_bbox=True, box_type="qbox")'
        )
    if not np.isfinite(boxes).all():
        row = int(np.flatnonzero(~np.isfinite(boxes).all(axis=1))[0])
        raise InputError(f'{name} box {row} is not finite: {boxes[row].tolist()}; drop or repair it before evaluating')
    return boxes


def _column(values: Any, length: int, dtype: type, name: str) -> np.ndarray:
    """Check and convert one value per box."""
    column: np.ndarray = to_array(values).astype(dtype).reshape(-1)
    if len(column) != length:
        raise InputError(f'{name} has {len(column)} entries for {length} boxes; expected one for each box')
    return column


@dataclass(frozen=True)
class Detections:
    """Detections of one image.

    Args:
        boxes: (K, 5) rboxes or (K, 8) qboxes in image pixels; tensor, array or box object.
        scores: (K,) confidences, finite.
        labels: (K,) class indices.

    Raises:
        InputError: wrong shape, lengths that differ, or a value that is not finite.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        boxes = _boxes(self.boxes, 'detection')
        scores = _column(self.scores, len(boxes), np.float64, 'scores')
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise InputError(f'score {row} is {scores[row]}; expected a finite number, drop it before evaluating')
        object.__setattr__(self, 'boxes', boxes)
        object.__setattr__(self, 'scores', scores)
        object.__setattr__(self, 'labels', _column(self.labels, len(boxes), np.int64, 'detection labels'))


@dataclass(frozen=True)
class Truths:
    """Ground truth of one image.

    Args:
        boxes: (G, 5) rboxes or (G, 8) qboxes in the same frame as the detections.
        labels: (G,) class indices.
        ignored: (G,) True for difficult objects, which count neither as found nor as missed. All False by default.

    Raises:
        InputError: wrong shape, lengths that differ, or a value that is not finite.
    """

    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray | None = None

    def __post_init__(self) -> None:
        boxes = _boxes(self.boxes, 'truth')
        ignored = np.zeros(len(boxes), dtype=bool) if self.ignored is None else self.ignored
        object.__setattr__(self, 'boxes', boxes)
        object.__setattr__(self, 'labels', _column(self.labels, len(boxes), np.int64, 'truth labels'))
        object.__setattr__(self, 'ignored', _column(ignored, len(boxes), bool, 'ignored flags'))

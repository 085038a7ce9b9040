"""Files that the DOTA benchmark server takes for Task 1 (oriented boxes), written whole or not at all."""

import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from stn_det.errors import InputError
from stn_det.geometry import rbox_to_qbox

from .functional.records import RBOX_DIM, Detections


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Corners (K, 8) of rboxes or qboxes."""
    if boxes.shape[1] != RBOX_DIM:
        return boxes
    return np.asarray(rbox_to_qbox(torch.from_numpy(boxes)).numpy())


def _lines(name: str, detections: Detections, label: int) -> list[str]:
    """``name score x1 y1 ... x4 y4`` of one class; nine digits bring a float32 back unchanged."""
    chosen = detections.labels == label
    rows = np.column_stack([detections.scores[chosen], _corners(detections.boxes[chosen])])
    return [name + ' ' + ' '.join(f'{value:.9g}' for value in row) for row in rows]


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, never sees a part of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _zip_atomically(path: Path, files: Sequence[Path]) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    os.close(handle)
    try:
        with zipfile.ZipFile(temporary, 'w', zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, file.name)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_task1(
    folder: str | Path, names: Sequence[str], detections: Sequence[Detections], classes: Sequence[str]
) -> Path:
    """Write ``Task1_<class>.txt`` for every class and ``Task1.zip`` with all of them.

    Scores and coordinates keep the precision of float32: two decimals, as some tools write, merge thousands of
    detections into ties and change the figure.

    Args:
        folder: where the files go; made if absent.
        names: image names without extension, one per image.
        detections: detections of each image in its own pixels.
        classes: class names by label.

    Returns:
        Path of the archive.

    Raises:
        InputError: an image name is empty or holds white space, which the layout cannot carry.
    """
    for name in names:
        if not name or name.split() != [name]:
            raise InputError(f'image name {name!r} is empty or holds white space; rename the image for a submission')
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    files = []
    for label, class_name in enumerate(classes):
        lines = [line for name, items in zip(names, detections) for line in _lines(name, items, label)]
        path = target / f'Task1_{class_name}.txt'
        write_atomically(path, ''.join(f'{line}\n' for line in lines).encode())
        files.append(path)
    archive = target / 'Task1.zip'
    _zip_atomically(archive, files)
    return archive

"""Writing images so that no half-written file is ever seen."""

import os
import tempfile
from pathlib import Path

import cv2
import numpy as np

from stn_det.errors import InputError


def write_atomically(path: str | Path, content: bytes) -> Path:
    """Write a file through a temporary neighbour; folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def save_image(path: str | Path, image: np.ndarray) -> Path:
    """Write an RGB image (H, W, 3) of uint8 as PNG or JPEG, by its ending.

    Raises:
        InputError: an ending that OpenCV cannot write.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in ('.png', '.jpg', '.jpeg'):
        raise InputError(f'image file {Path(path).name!r} ends in {suffix!r}; expected .png, .jpg or .jpeg')
    _, data = cv2.imencode(suffix, np.ascontiguousarray(image[..., ::-1]))
    return write_atomically(path, data.tobytes())

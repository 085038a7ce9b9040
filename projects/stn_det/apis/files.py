"""Writing result files so that an interrupted run never leaves half a file under a final name."""

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: str | Path, text: str) -> Path:
    """Write ``text`` through a temporary file beside ``path`` and return the path; parent folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    part.write_text(text, encoding='utf-8')
    part.replace(path)
    return path


def write_json(path: str | Path, value: Any) -> Path:
    """Write ``value`` as indented JSON like :func:`write_text`; NumPy and PyTorch scalars become plain numbers."""
    return write_text(path, json.dumps(value, indent=2, default=_plain) + '\n')


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, 'tolist'):
        return value.tolist()
    raise TypeError(f'cannot write {type(value).__name__} {value!r} as JSON')

"""What stands beside figures so that a reader knows what made them: versions, hardware, commit."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import mmdet
import mmengine
import numpy as np
import torch

from .. import __file__ as _package_file
from .. import __version__


def versions() -> dict[str, str]:
    """Versions of this package and of what it stands on."""
    return {
        'stn_det': __version__,
        'python': platform.python_version(),
        'torch': torch.__version__,
        'numpy': np.__version__,
        'mmengine': mmengine.__version__,
        'mmdet': mmdet.__version__,
    }


def hardware() -> dict[str, Any]:
    """Threads and instruction set of the processor, and the name of the GPU, if there is one."""
    return {
        'cpu_threads': torch.get_num_threads(),
        'cpu_capability': torch.backends.cpu.get_cpu_capability(),
        'gpu': torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def commit() -> str | None:
    """Commit of the checkout that the package runs from, with ``-dirty`` after changes; None for an installed one.

    ``STN_DET_COMMIT`` names it for a copy without history.
    """
    if os.environ.get('STN_DET_COMMIT'):
        return os.environ['STN_DET_COMMIT']
    root = Path(_package_file).resolve().parents[2]
    if not (root / '.git').exists():
        return None
    command = ['git', 'describe', '--always', '--dirty']
    try:
        result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine
        return None
    return result.stdout.strip() or None

"""What every benchmark writes beside its figures: machine, versions, commit, command."""

import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / 'benchmarks' / 'results'
PACKAGES = (
    'torch',
    'numpy',
    'onedl-mmengine',
    'onedl-mmcv',
    'onedl-mmdetection',
    'mmengine',
    'mmcv-lite',
    'mmcv',
    'mmdet',
    'torchvision',
    'triton',
    'deformops',
    'DCNv4',
    'msda-triton',
    'ms-deform-attn',
)


def environment() -> dict[str, Any]:
    """Machine, threads, versions, commit and command line of this run."""
    return {
        'date': datetime.now(timezone.utc).strftime('%Y-%m-%d'),
        'commit': COMMIT,
        'command': ' '.join(['python', *(_relative(argument) for argument in sys.argv)]),
        'cpu': _cpu_name(),
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'gpu': torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        'python': platform.python_version(),
        'versions': {name: version(name) for name in PACKAGES if _installed(name)},
    }


def write_record(name: str, figures: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Writes ``<folder>/<name>.json`` with the figures and the environment, through a temporary file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{name}.json'
    part = path.with_suffix('.part')
    part.write_text(json.dumps({**figures, 'environment': environment()}, indent=2) + '\n')
    part.replace(path)
    return path


def commit_of_training(work_dir: Path) -> str:
    """Commit at which the training in ``work_dir`` was begun; noted there by the first call."""
    note = work_dir / 'commit.txt'
    if not note.is_file():
        work_dir.mkdir(parents=True, exist_ok=True)
        note.write_text(f'{COMMIT}\n')
    return note.read_text().strip()


def training_seconds(work_dir: Path) -> float:
    """Seconds that the iterations of a training took, over all its parts, validation not included.

    Estimated from mmengine's log: the mean of the 20 iterations before a line stands for all since the line before.
    Iterations after the last line, and those lost in an interruption, are not counted.
    """
    times = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in map(json.loads, path.read_text().splitlines()):
            if 'loss' in line:
                times[line['step']] = line['time']
    steps = [0, *sorted(times)]
    return round(sum((step - before) * times[step] for before, step in pairwise(steps)), 1)


def _relative(argument: str) -> str:
    """Arguments without the path of the machine they ran on."""
    return os.path.relpath(argument, REPOSITORY) if os.path.isabs(argument) else argument


def _commit() -> str:
    """The commit of this checkout; ``STN_DET_COMMIT`` names it for a copy without history."""
    if os.environ.get('STN_DET_COMMIT'):
        return os.environ['STN_DET_COMMIT']
    command = ['git', 'describe', '--always', '--dirty']
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return result.stdout.strip() or 'unknown'


def _cpu_name() -> str:
    lines = Path('/proc/cpuinfo').read_text().splitlines() if Path('/proc/cpuinfo').exists() else []
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor()


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


# Asked for when the run starts: the checkout may move on before it ends.
COMMIT = _commit()

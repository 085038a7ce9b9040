"""What every benchmark writes beside its figures: machine, versions, commit, command."""

import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
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


def _relative(argument: str) -> str:
    """Arguments without the path of the machine they ran on."""
    return os.path.relpath(argument, REPOSITORY) if os.path.isabs(argument) else argument


def _commit() -> str:
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

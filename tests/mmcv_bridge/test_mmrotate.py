"""Detectors of onedl-mmrotate on the bridge alone: a training step and a prediction of each.

They run in a process of their own, because mmrotate and this package register box types under the same names.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = 'benchmarks/mmrotate_agreement.py'


@pytest.fixture(scope='module')
def outputs(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    """Losses, a gradient and predictions of every model."""
    if importlib.util.find_spec('mmrotate') is None:
        pytest.skip('onedl-mmrotate is not installed')
    path = tmp_path_factory.mktemp('mmrotate') / 'bridge.pt'
    subprocess.run([sys.executable, str(repository / SCRIPT), 'record', str(path)], check=True, capture_output=True)
    record = torch.load(path)
    assert record['state'] == 'active'
    return record['results']


@pytest.fixture(scope='module')
def script(repository: Path) -> ModuleType:
    """The benchmark that holds these models against a compiled mmcv."""
    sys.path.insert(0, str(repository / 'benchmarks'))
    try:
        spec = importlib.util.spec_from_file_location('mmrotate_agreement', repository / SCRIPT)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


@pytest.mark.parametrize('name', ['Rotated RTMDet', 'Oriented R-CNN', 'S2A-Net'])
def test_trains_and_predicts(outputs, name) -> None:
    parts = outputs[name]
    losses = {key: part for key, part in parts.items() if key.startswith('loss')}
    assert len(losses) >= 2
    assert all(part.isfinite().all() for part in parts.values())
    assert sum(part.sum() for part in losses.values()) > 0
    assert parts['gradient'].abs().max() > 0
    boxes, scores = parts['predictions'][:, :5], parts['predictions'][:, 5]
    assert len(boxes) > 100
    assert (boxes[:, 2:4] > 0).all()
    assert ((scores > 0) & (scores <= 1)).all()


def test_sets_are_compared_without_regard_to_order(script) -> None:
    rows = torch.rand(20, 7, dtype=torch.float64)
    assert script.difference_of_sets(rows, rows.flip(0)) == 0
    assert script.difference_of_sets(rows, rows.flip(0) + 1e-5) == pytest.approx(1e-5)
    assert script.difference_of_sets(rows[[0, 0, 1]], rows[:3]) == 'two rows are nearest to the same one'

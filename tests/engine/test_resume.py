"""Training state that mmengine wrote is read back under torch's safe loading, and nothing else is."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn

from stn_det.engine.resume import allow_mmengine_checkpoints
from stn_det.errors import InputError


@pytest.fixture(autouse=True)
def _own_allowlist() -> Iterator[None]:
    """Each test starts from torch's own list and leaves the process as it was."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


class Line(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor') -> Any:
        output = self.layer(inputs.float())
        return {'loss': output.square().mean()} if mode == 'loss' else output


def train(folder: Path, epochs: int, resume: bool) -> Runner:
    data = [{'inputs': torch.full((2,), float(i))} for i in range(4)]
    runner = Runner(
        Line(),
        str(folder),
        train_dataloader={
            'dataset': data,
            'batch_size': 2,
            'sampler': {'type': 'DefaultSampler', 'shuffle': False},
            'collate_fn': {'type': 'default_collate'},
        },
        train_cfg={'by_epoch': True, 'max_epochs': epochs},
        optim_wrapper={'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 0.01}},
        param_scheduler=[{'type': 'MultiStepLR', 'milestones': [1]}],
        default_hooks={
            'checkpoint': {'type': 'CheckpointHook', 'interval': 1},
            'logger': {'type': 'LoggerHook', 'interval': 1},
        },
        custom_hooks=[{'type': 'EMAHook'}],
        resume=resume,
        experiment_name=f'{folder.name}-{epochs}',
        log_level='ERROR',
    )
    # A metric leaves numpy scalars among the run's values.
    runner.message_hub.update_info('best_score', np.float32(0.5))
    runner.train()
    return runner


def test_a_run_resumes_where_it_stopped(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    allow_mmengine_checkpoints()
    first = train(tmp_path, 2, resume=False)
    second = train(tmp_path, 3, resume=True)
    assert second.iter == 6
    history = second.message_hub.get_scalar('train/loss')
    assert len(history.data[0]) == 6
    assert history.data[0][:4].tolist() == first.message_hub.get_scalar('train/loss').data[0].tolist()
    assert second.message_hub.get_info('best_score') == np.float32(0.5)
    assert 'Could not safely load' not in ''.join(capfd.readouterr())
    saved = torch.load(tmp_path / 'epoch_3.pth', weights_only=True)  # loading did not take the allowance away
    assert saved['meta']['epoch'] == 3


def test_the_allowance_is_needed_and_may_be_repeated(tmp_path: Path) -> None:
    file = tmp_path / 'state.pth'
    torch.save({'history': HistoryBuffer([1.0, 3.0], [1, 1])}, file)
    with pytest.raises(pickle.UnpicklingError, match='HistoryBuffer'):
        torch.load(file, weights_only=True)
    allow_mmengine_checkpoints()
    count = len(torch.serialization.get_safe_globals())
    allow_mmengine_checkpoints()
    assert len(torch.serialization.get_safe_globals()) == count
    assert torch.load(file, weights_only=True)['history'].mean() == 2


@pytest.mark.parametrize(
    'value',
    [np.float32(0.25), np.float64(0.1), np.int64(-3), np.bool_(True), np.arange(6.0).reshape(2, 3), np.array(['ship'])],
    ids=lambda value: f'{type(value).__name__} {value.dtype}',
)
def test_numpy_values(tmp_path: Path, value: Any) -> None:
    allow_mmengine_checkpoints()
    torch.save(value, tmp_path / 'value.pth')
    loaded = torch.load(tmp_path / 'value.pth', weights_only=True)
    assert loaded.dtype == value.dtype
    assert np.array_equal(loaded, value)


@pytest.mark.parametrize(('written', 'core'), [(b'numpy._core.', b'numpy.core.'), (b'numpy.core.', b'numpy._core.')])
def test_files_of_either_numpy(tmp_path: Path, written: bytes, core: bytes) -> None:
    """numpy 1 keeps the functions that rebuild an array in numpy.core, numpy 2 in numpy._core."""
    allow_mmengine_checkpoints()
    file = tmp_path / 'array.pth'
    torch.save([np.float64(0.5), np.arange(3)], file, _use_new_zipfile_serialization=False)
    file.write_bytes(file.read_bytes().replace(written, core))
    scalar, array = torch.load(file, weights_only=True)
    assert scalar == 0.5
    assert array.tolist() == [0, 1, 2]


class Attack:
    """Pickles as a call of ``getattr`` with the given arguments."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, self.arguments


@pytest.mark.parametrize(
    'arguments', [(HistoryBuffer, '__init__'), ('text', 'join'), (HistoryBuffer, '__subclasses__')]
)
def test_a_file_may_not_reach_for_other_attributes(tmp_path: Path, arguments: tuple[Any, ...]) -> None:
    allow_mmengine_checkpoints()
    torch.save(Attack(*arguments), tmp_path / 'attack.pth')
    with pytest.raises(InputError, match=r'only the statistics methods .* were expected; do not load this file'):
        torch.load(tmp_path / 'attack.pth', weights_only=True)


def test_other_classes_stay_forbidden(tmp_path: Path) -> None:
    allow_mmengine_checkpoints()
    torch.save(tmp_path, tmp_path / 'path.pth')
    with pytest.raises(pickle.UnpicklingError, match='pathlib'):
        torch.load(tmp_path / 'path.pth', weights_only=True)

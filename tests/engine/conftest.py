"""A toy model and a function that trains it with a given set of hooks.

mmdet has to be imported after the bridge that makes it run without compiled mmcv operators.
"""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import stn_det.mmcv_bridge  # noqa: F401


class ToyDataset(Dataset):
    """Eight items with an image path each; the item ``bad`` (if any) makes the loss NaN."""

    def __init__(self, bad: tuple[int, ...] = ()) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict:
        value = float('nan') if index in self.bad else 1.0
        sample = SimpleNamespace(img_path=f'images/P{index:04d}.png')
        return {'inputs': torch.full((3,), value), 'data_samples': sample}


def collate(items: list[dict]) -> dict:
    """Batch as mmdet makes it."""
    return {'inputs': [item['inputs'] for item in items], 'data_samples': [item['data_samples'] for item in items]}


@pytest.fixture
def toy_model() -> nn.Module:
    """A model of two loss terms, one of them a list, on mmengine's ``BaseModel``."""
    from mmengine.model import BaseModel

    class ToyModel(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)
            self.seen_dtypes: list[torch.dtype] = []

        def forward(self, inputs: list[torch.Tensor], data_samples: list, mode: str = 'tensor') -> dict | list:
            out = self.linear(torch.stack(list(inputs)))
            self.seen_dtypes.append(out.dtype)
            if mode == 'predict':
                return data_samples
            good = self.linear.weight.square().mean()
            return {'loss_cls': good, 'loss_bbox': [good, out.square().mean()], 'pos_iou': out.new_tensor(float('nan'))}

    return ToyModel()


@pytest.fixture
def train(tmp_path) -> Callable:
    """``train(model, hooks, ...)`` trains for some epochs and returns the runner (also when training raises)."""
    from mmengine.runner import Runner
    from torch.utils.data import DataLoader

    counter = iter(range(100))

    def run(
        model: nn.Module, hooks: list, bad: tuple[int, ...] = (), epochs: int = 2, catch: tuple = (), **settings
    ) -> SimpleNamespace:
        loader = DataLoader(ToyDataset(bad), batch_size=2, collate_fn=collate)
        number = next(counter)
        runner = Runner(
            model=model,
            work_dir=str(tmp_path / f'run{number}'),
            train_dataloader=loader,
            optim_wrapper=settings.pop('optim_wrapper', {'optimizer': {'type': 'SGD', 'lr': 0.1}}),
            train_cfg=settings.pop('train_cfg', {'by_epoch': True, 'max_epochs': epochs}),
            custom_hooks=hooks,
            experiment_name=f'{tmp_path.name}_{number}',
            log_level='WARNING',
            **settings,
        )
        error = None
        try:
            runner.train()
        except catch as raised:
            error = raised
        return SimpleNamespace(runner=runner, error=error)

    return run

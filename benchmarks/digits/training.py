"""One run: a network trained on digits distorted afresh in each step, and its errors on fixed ones."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data import Digits, load
from .distortions import CANVAS, distort
from .networks import DigitNetwork, build, count

TEST_SEED = 1_000_000  # of the distortions of the test digits: the same for every model and seed


@dataclass(frozen=True)
class Settings:
    """What all runs share.

    Args:
        steps: Of the optimiser, with the learning rate of one cycle.
        batch: Digits in a step.
        lr: Largest learning rate of Adam.
        localizer_lr: Factor on it for the transformer.
        parameters: Weights of each network.
        copies: Distortions of each test digit.
        mnist: Folder of MNIST, or None.
        validate: Hold digits of the training set out, to choose settings by.
    """

    steps: int = 1000
    batch: int = 128
    lr: float = 2e-3
    localizer_lr: float = 1.0
    parameters: int = 60_000
    copies: int = 10
    mnist: Path | None = None
    validate: bool = False


@dataclass(frozen=True)
class Run:
    """One network to train: distortion, model and seed."""

    distortion: str
    model: str
    seed: int

    @property
    def name(self) -> str:
        """Its key in the record, and its name on the disk."""
        return f'{self.distortion}_{self.model}_{self.seed}'


def perform(run: Run, settings: Settings, folder: Path) -> dict[str, Any]:
    """Train and measure with one thread; the weights are left in ``folder``.

    Returns:
        Error in percent, number of weights, processor time of the training in seconds.
    """
    torch.set_num_threads(1)
    torch.manual_seed(run.seed)
    train, test = load(settings.mnist, settings.validate)
    network = build(run.model, CANVAS[run.distortion], settings.parameters)
    start = time.process_time()
    _fit(network, train, run, settings)
    seconds = time.process_time() - start
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f'{run.name}.part'
    torch.save(network.state_dict(), part)
    part.replace(weights_file(run, folder))
    error = error_percent(network, test, run.distortion, settings.copies)
    return {'error_percent': error, 'parameters': count(network), 'train_cpu_seconds': round(seconds, 1)}


def weights_file(run: Run, folder: Path) -> Path:
    """Where the weights of a run are."""
    return folder / f'{run.name}.pth'


def _fit(network: DigitNetwork, train: Digits, run: Run, settings: Settings) -> None:
    generator = torch.Generator().manual_seed(run.seed)
    optimizer = torch.optim.Adam(_groups(network, settings))
    rates = [group['lr'] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, settings.steps)
    for _ in range(settings.steps):
        digits = train.at(torch.randint(len(train), (settings.batch,), generator=generator))
        optimizer.zero_grad()
        F.cross_entropy(network(distort(digits.images, run.distortion, generator)), digits.labels).backward()
        optimizer.step()
        schedule.step()


def _groups(network: DigitNetwork, settings: Settings) -> list[dict[str, Any]]:
    transformer = [] if network.transformer is None else list(network.transformer.parameters())
    known = {id(weight) for weight in transformer}
    rest = [weight for weight in network.parameters() if id(weight) not in known]
    groups = [(rest, 1.0), (transformer, settings.localizer_lr)]
    return [{'params': weights, 'lr': settings.lr * factor} for weights, factor in groups if weights]


@torch.no_grad()
def error_percent(network: nn.Module, test: Digits, distortion: str, copies: int) -> float:
    """Share of digits that are not recognised, of ``copies`` fixed distortions of each."""
    network.eval()
    generator = torch.Generator().manual_seed(TEST_SEED)
    wrong = torch.zeros((), dtype=torch.long)
    for _ in range(copies):
        for rows in torch.arange(len(test)).split(1000):
            digits = test.at(rows)
            scores: Tensor = network(distort(digits.images, distortion, generator))
            wrong += (scores.argmax(1) != digits.labels).sum()
    return 100 * wrong.item() / (copies * len(test))

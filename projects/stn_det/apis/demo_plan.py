"""What the demo does in which size, and where it stands: the parts of the demo that need no training code."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..datasets.scenes import GENERATOR_VERSION
from ..errors import InputError
from .classes import innermost_dataset
from .files import write_json

DEMO_CONFIG = 'stn_det::oriented_point/oriented-point-le90_mobilenetv2_fpn_demo_scenes.py'

# Added to the seed for the validation scenes, so that no usual seed makes training scenes of them.
VAL_SEED_OFFSET = 1_000_000

# Metres a pixel. At this resolution a car is as long as in aerial images of DOTA, about 20 to 38 pixels.
GSD = (0.12, 0.22)


@dataclass(frozen=True)
class DemoPlan:
    """Sizes of a demo; two runs in one folder must have the same."""

    train_images: int
    val_images: int
    scene_size: int
    """Width and height of a scene in pixels."""
    epochs: int
    pretrained: bool
    """Start from ImageNet weights where they can be had."""
    seed: int

    @property
    def workers(self) -> int:
        """Processes that make the scenes; a few scenes are not worth starting any."""
        return 2 if self.train_images > 50 else 1

    @classmethod
    def make(cls, quick: bool, seed: int, images: int | None, epochs: int | None) -> 'DemoPlan':
        """The full or the quick plan, with the given numbers put in.

        Raises:
            InputError: when a number is not usable.
        """
        for name, value in (('images', images), ('epochs', epochs)):
            if value is not None and value < 1:
                raise InputError(f'{name} is {value}; expected at least 1.')
        if seed < 0:
            raise InputError(f'seed is {seed}; expected 0 or more.')
        full = cls(train_images=400, val_images=80, scene_size=512, epochs=8, pretrained=True, seed=seed)
        small = cls(train_images=16, val_images=6, scene_size=256, epochs=6, pretrained=False, seed=seed)
        base = asdict(small if quick else full)
        if images is not None:
            base.update(train_images=images, val_images=max(2, images // 4))
        if epochs is not None:
            base.update(epochs=epochs)
        return cls(**base)


class Progress:
    """Which phases of a demo are done and how long each took, kept in ``progress.json`` of its folder.

    Args:
        work_dir: folder of the demo.
        plan: its sizes.

    Raises:
        InputError: when the folder holds a demo with other sizes.
    """

    def __init__(self, work_dir: Path, plan: DemoPlan) -> None:
        self.path = work_dir / 'progress.json'
        self.seconds: dict[str, float] = {}
        self.done: list[str] = []
        wanted = {**asdict(plan), 'gsd': list(GSD), 'generator_version': GENERATOR_VERSION}
        if self.path.is_file():
            stored = json.loads(self.path.read_text(encoding='utf-8'))
            there = stored['plan']
            other = [key for key, value in wanted.items() if there.get(key) != value]
            if other:
                listed = ', '.join(f'{key} {there.get(key)} instead of {wanted[key]}' for key in other)
                raise InputError(f'{work_dir} holds a demo with {listed}. Give another --work-dir, or remove it.')
            self.seconds, self.done = stored['seconds'], stored['done']
        self._plan = wanted

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase and mark it done; interrupted attempts count too, repetitions of a finished phase do not."""
        start, before = time.perf_counter(), self.seconds.get(name, 0.0)
        repeated = name in self.done
        try:
            yield
            if name not in self.done:
                self.done.append(name)
        finally:
            if not repeated:
                self.seconds[name] = round(before + time.perf_counter() - start, 2)
            write_json(self.path, {'plan': self._plan, 'seconds': self.seconds, 'done': self.done})


def set_data_root(cfg: Config, data_root: Path) -> None:
    """Point the datasets of all loaders to ``data_root``."""
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader:
            innermost_dataset(loader['dataset'])['data_root'] = f'{data_root}/'


def set_schedule(cfg: Config, epochs: int, train_images: int) -> None:
    """Change the number of epochs and fit the learning-rate schedule to it.

    Parts counted in epochs are stretched; parts counted in iterations, such as a warm-up, take at most a tenth of all.
    """
    before = cfg.train_cfg.max_epochs
    cfg.train_cfg.max_epochs = epochs
    cfg.train_cfg.val_interval = min(cfg.train_cfg.get('val_interval', 1), epochs)
    iterations = epochs * max(1, train_images // cfg.train_dataloader.batch_size)
    for scheduler in cfg.get('param_scheduler') or []:
        if scheduler.get('by_epoch', True):
            _stretch(scheduler, epochs / before)
        elif 'end' in scheduler:
            scheduler['end'] = min(scheduler['end'], max(1, iterations // 10))


def set_image_size(cfg: Config, size: int) -> None:
    """Let all loaders resize images to ``size`` pixels."""
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        for step in innermost_dataset(loader['dataset'])['pipeline'] if loader else []:
            if step['type'] == 'Resize':
                step['scale'] = (size, size)


def _stretch(scheduler: dict[str, Any], factor: float) -> None:
    for key in ('begin', 'end', 'T_max'):
        if isinstance(scheduler.get(key), int):
            scheduler[key] = round(scheduler[key] * factor)
    if 'milestones' in scheduler:
        scheduler['milestones'] = [max(1, round(value * factor)) for value in scheduler['milestones']]

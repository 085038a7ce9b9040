"""What training and testing share: a config made ready for mmengine's runner, and the runner itself."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from ..errors import InputError

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def set_work_dir(cfg: Config, work_dir: str | Path | None) -> Path:
    """Give the config a work directory: the argument, else its own, else ``work_dirs/<name of the config>``."""
    if work_dir is not None:
        cfg.work_dir = str(work_dir)
    elif cfg.get('work_dir') is None:
        name = Path(cfg.filename).stem if cfg.filename else 'unnamed'
        cfg.work_dir = os.path.join('work_dirs', name)
    return Path(cfg.work_dir)


def set_launcher(cfg: Config, launcher: str) -> None:
    """Name the job launcher of a distributed run.

    Raises:
        InputError: when mmengine knows no such launcher.
    """
    if launcher not in LAUNCHERS:
        raise InputError(f'launcher is {launcher!r}; expected one of {", ".join(LAUNCHERS)}.')
    cfg.launcher = launcher


def set_amp(cfg: Config, device: torch.device) -> None:
    """Make the optimiser run in mixed precision: fp16 with loss scaling on a GPU, bf16 on a CPU that has it."""
    if device.type == 'cpu':
        cfg.optim_wrapper.type = 'AutocastOptimWrapper'
        cfg.optim_wrapper.dtype = 'bfloat16'
        cfg.optim_wrapper.pop('loss_scale', None)
    else:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.dtype = 'float16'
        cfg.optim_wrapper.loss_scale = 'dynamic'


def add_progress_bar(cfg: Config, wanted: bool | None) -> None:
    """Add the progress bar hook when wanted; None means: when stderr is a terminal."""
    shown = sys.stderr.isatty() if wanted is None else wanted
    present = any('ProgressBarHook' in str(hook.get('type')) for hook in cfg.get('custom_hooks') or [])
    if shown and not present:
        # The hook shows itself on a terminal only, unless it is forced.
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='ProgressBarHook', force=bool(wanted))]


def build_runner(cfg: Config) -> Runner:
    """mmengine's runner for a config, or the one that the config names as ``runner_type``."""
    _rename_visualizer(cfg)
    runner: Any = Runner.from_cfg(cfg) if 'runner_type' not in cfg else RUNNERS.build(cfg)
    return runner


def stop_workers(runner: Any) -> None:
    """End the worker processes of a runner's data loaders.

    Left to the garbage collector, the queues of persistent workers close before the workers are told to stop, and
    PyTorch then waits five seconds for each of them.
    """
    for name in ('_train_loop', '_val_loop', '_test_loop'):
        loop = getattr(runner, name, None)
        for holder in (getattr(loop, 'dataloader_iterator', None), getattr(loop, 'dataloader', None)):
            if holder is not None and getattr(holder, '_iterator', None) is not None:
                holder._iterator = None


def _rename_visualizer(cfg: Config) -> None:
    """Give the visualiser a free name: mmengine hands the first one of a name, with its folder, to every later run."""
    settings = cfg.get('visualizer')
    if settings:
        name, number = settings.get('name', 'visualizer'), 1
        while Visualizer.check_instance_created(settings.get('name', name)):
            number += 1
            settings['name'] = f'{name}_{number}'

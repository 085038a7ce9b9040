"""Training with mmengine's runner, with the meaning of mmdet's ``tools/train.py``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

from ..errors import ConfigError
from .configs import load_config
from .devices import on_device, resolve_device
from .runners import add_progress_bar, build_runner, set_amp, set_launcher, set_work_dir, stop_workers
from .suggest import require_file


@dataclass(frozen=True)
class TrainResult:
    """What a training run left behind."""

    work_dir: Path
    """Folder with checkpoints and logs."""
    log_dir: Path
    """Folder of this run's logs, below ``work_dir``."""
    checkpoint: Path | None
    """Newest checkpoint, None when the schedule saves none."""
    epochs: int
    """Epochs completed, counting those of resumed runs."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Metrics of the last validation, empty when there was none."""


def train(
    config: str | Path | Config,
    *,
    work_dir: str | Path | None = None,
    resume: bool | str | Path = False,
    amp: bool = False,
    auto_scale_lr: bool = False,
    cfg_options: Mapping[str, Any] | Sequence[str] | None = None,
    allow_new: bool = False,
    device: str | None = None,
    launcher: str = 'none',
    progress: bool | None = None,
) -> TrainResult:
    """Train a detector.

    Args:
        config: a path, ``package::path``, the bare name of a shipped config, or a loaded config.
        work_dir: where checkpoints and logs go; by default the config's, else ``work_dirs/<config name>``.
        resume: True or 'auto' continues from the newest checkpoint in ``work_dir`` and starts anew when there is none;
            a path continues from that checkpoint.
        amp: train in mixed precision.
        auto_scale_lr: scale the learning rate by the batch size, which needs ``auto_scale_lr`` in the config.
        cfg_options: overrides, see :func:`~stn_det.apis.load_config`.
        allow_new: let an override add a key.
        device: 'cpu', 'cuda', 'cuda:1'; None takes the first GPU, else the CPU.
        launcher: 'none', 'pytorch' (torchrun), 'slurm' or 'mpi'.
        progress: show a progress bar; None: when stderr is a terminal.

    Returns:
        Where the run is and how it ended.

    Raises:
        ConfigError: when the config or an override cannot be used.
        InputError: when the checkpoint to resume from or the device does not exist.
        NonFiniteLossError: when the loss becomes NaN or infinite (with FiniteLossHook in the config).
    """
    cfg = load_config(config, cfg_options, allow_new)
    folder = set_work_dir(cfg, work_dir)
    set_launcher(cfg, launcher)
    if amp:
        set_amp(cfg, resolve_device(device))
    if auto_scale_lr:
        _scale_learning_rate(cfg)
    _set_resume(cfg, resume)
    add_progress_bar(cfg, progress)
    with on_device(device):
        runner = build_runner(cfg)
        try:
            runner.train()
        finally:
            stop_workers(runner)
    latest = find_latest_checkpoint(str(folder)) if folder.is_dir() else None
    return TrainResult(
        work_dir=folder,
        log_dir=Path(runner.log_dir),
        checkpoint=Path(latest) if latest else None,
        epochs=int(runner.epoch),
        metrics=_last_validation(runner),
    )


def _set_resume(cfg: Config, resume: bool | str | Path) -> None:
    """Translate ``resume`` into mmengine's pair of ``resume`` and ``load_from``."""
    if resume is False:
        return
    cfg.resume = True
    if resume is True or resume == 'auto':
        cfg.load_from = None
    else:
        cfg.load_from = str(require_file(resume, 'checkpoint to resume from'))


def _scale_learning_rate(cfg: Config) -> None:
    """Switch on the scaling that the config prepares."""
    scaling = cfg.get('auto_scale_lr') or {}
    missing = [key for key in ('enable', 'base_batch_size') if key not in scaling]
    if missing:
        raise ConfigError(f'config {cfg.filename} has no auto_scale_lr.{missing[0]}, which --auto-scale-lr needs.')
    cfg.auto_scale_lr.enable = True


def _last_validation(runner: Any) -> dict[str, float]:
    """Newest value of each scalar that a validation loop wrote."""
    scalars = runner.message_hub.log_scalars
    names = [name for name in scalars if name.startswith('val/') and not name.endswith(('time', 'data_time'))]
    return {name.removeprefix('val/'): float(scalars[name].current()) for name in names}

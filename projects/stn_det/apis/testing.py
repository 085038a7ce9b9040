"""Evaluating a checkpoint with mmengine's runner, with the meaning of mmdet's ``tools/test.py``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook

from ..errors import ConfigError, InputError
from .classes import check_classes, load_checkpoint_file
from .configs import load_config
from .devices import on_device
from .files import write_json
from .runners import add_progress_bar, build_runner, set_launcher, set_work_dir, stop_workers


def test(
    config: str | Path | Config,
    checkpoint: str | Path,
    *,
    work_dir: str | Path | None = None,
    out: str | Path | None = None,
    show: bool = False,
    show_dir: str | Path | None = None,
    wait_time: float = 2.0,
    tta: bool = False,
    cfg_options: Mapping[str, Any] | Sequence[str] | None = None,
    allow_new: bool = False,
    device: str | None = None,
    launcher: str = 'none',
    progress: bool | None = None,
) -> dict[str, float]:
    """Evaluate a checkpoint on the test set of a config.

    Args:
        config: a path, ``package::path``, the bare name of a shipped config, or a loaded config.
        checkpoint: the weights; their classes must be those of the test dataset.
        work_dir: where the log goes; by default the config's, else ``work_dirs/<config name>``.
        out: ``*.json`` receives the metrics, ``*.pkl`` the predictions in mmdet's format.
        show: open a window for each image.
        show_dir: folder for images with predictions and truth drawn.
        wait_time: seconds between windows.
        tta: use the config's ``tta_model`` and ``tta_pipeline``.
        cfg_options: overrides, see :func:`~stn_det.apis.load_config`.
        allow_new: let an override add a key.
        device: 'cpu', 'cuda', 'cuda:1'; None takes the first GPU, else the CPU.
        launcher: 'none', 'pytorch' (torchrun), 'slurm' or 'mpi'.
        progress: show a progress bar; None: when stderr is a terminal.

    Returns:
        Metrics by name, for example ``dota/AP50``.

    Raises:
        ConfigError: when the config or an override cannot be used.
        ClassMismatchError: when checkpoint and dataset differ in classes.
        InputError: when the checkpoint, the device or the kind of ``out`` cannot be used.
    """
    _check_out(out)
    cfg = load_config(config, cfg_options, allow_new)
    set_work_dir(cfg, work_dir)
    set_launcher(cfg, launcher)
    check_classes(cfg, load_checkpoint_file(checkpoint), checkpoint)
    cfg.load_from = str(checkpoint)
    cfg.resume = False
    if show or show_dir:
        _draw(cfg, show, show_dir, wait_time)
    if tta:
        _use_test_time_augmentation(cfg)
    add_progress_bar(cfg, progress)
    as_json = out is not None and Path(out).suffix == '.json'
    metrics = run_test(cfg, device, dump=None if as_json else out)
    if out is not None and as_json:
        write_json(out, metrics)
    return metrics


def run_test(
    cfg: Config, device: str | None, dump: str | Path | None = None, hooks: Sequence[Hook] = ()
) -> dict[str, float]:
    """Run the test loop of a config that is ready for it: weights in ``load_from``, a work directory, a launcher.

    Args:
        cfg: changed in place by the runner.
        device: see :func:`test`.
        dump: receives the predictions in mmdet's format.
        hooks: more hooks for the runner.

    Returns:
        Metrics by name.
    """
    with on_device(device):
        runner = build_runner(cfg)
        for hook in hooks:
            runner.register_hook(hook)
        if dump is not None:
            from mmdet.evaluation import DumpDetResults

            runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=str(dump)))
        try:
            return {name: float(value) for name, value in runner.test().items()}
        finally:
            stop_workers(runner)


# pytest collects functions by this name; this one is not a test.
test.__test__ = False  # type: ignore[attr-defined]


def _check_out(out: str | Path | None) -> None:
    if out is not None and Path(out).suffix not in ('.json', '.pkl', '.pickle'):
        raise InputError(f'out is {out}; expected a name ending in .json (metrics) or .pkl (predictions).')


def _draw(cfg: Config, show: bool, show_dir: str | Path | None, wait_time: float) -> None:
    """Switch on mmdet's visualisation hook."""
    from mmdet.engine.hooks.utils import trigger_visualization_hook

    if 'visualization' not in cfg.get('default_hooks', {}):
        raise ConfigError(f'config {cfg.filename} has no default_hooks.visualization, which drawing needs.')
    # The hook puts a relative folder below the log directory; people mean one below where they stand.
    folder = None if show_dir is None else str(Path(show_dir).resolve())
    trigger_visualization_hook(cfg, SimpleNamespace(show=show, show_dir=folder, wait_time=wait_time))


def _use_test_time_augmentation(cfg: Config) -> None:
    """Wrap the model and change the test pipeline as the config prescribes."""
    missing = [key for key in ('tta_model', 'tta_pipeline') if key not in cfg]
    if missing:
        raise ConfigError(f'config {cfg.filename} has no {" and no ".join(missing)}, which --tta needs.')
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline

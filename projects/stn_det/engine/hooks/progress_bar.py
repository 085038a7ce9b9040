"""Progress bars for training, validation and testing."""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

SMOOTHING = 0.05


def format_duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03`` for a number of seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{rest:02d}' if hours else f'{minutes}:{rest:02d}'


def _loops(runner: Any) -> list[Any]:
    """Loops that the runner has built."""
    loops = (getattr(runner, name, None) for name in ('_train_loop', '_val_loop', '_test_loop'))
    return [loop for loop in loops if hasattr(loop, 'run')]


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Shows a bar with loss, learning rate and the time that the whole training still takes.

    One bar per epoch (one in all for an iteration-based loop), one per validation or test run. Log lines are printed
    above the bar. Only the first process shows it, and only on a terminal.

    Args:
        force: show the bar although the output is not a terminal. Default False.
        refresh_seconds: least time between two updates of the figures, each of which waits for the device. Default 0.5.

    Example:
        >>> custom_hooks = [dict(type='ProgressBarHook')]
    """

    priority = 'VERY_LOW'

    def __init__(self, force: bool = False, refresh_seconds: float = 0.5) -> None:
        self.force = force
        self.refresh_seconds = refresh_seconds
        self._bars: dict[str, tqdm] = {}
        self._redirect: contextlib.ExitStack | None = None
        self._iter_started = self._refreshed = 0.0
        self._seconds_per_iter: float | None = None

    def before_run(self, runner: Any) -> None:
        """Make sure that an exception inside a loop closes the bars."""
        self._iter_started = 0.0
        if self._enabled():
            for loop in _loops(runner):
                loop.run = self._closing(loop.run)

    def after_run(self, runner: Any) -> None:
        """Leave the loops as they were."""
        for loop in _loops(runner):
            loop.__dict__.pop('run', None)

    def before_train_epoch(self, runner: Any) -> None:
        """Open the bar of an epoch, or of the whole training."""
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            self._open(runner, 'train', 'train', runner.max_iters, runner.iter)
        else:
            title = f'epoch {runner.epoch + 1}/{runner.max_epochs}'
            self._open(runner, 'train', title, len(runner.train_dataloader))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Start the clock at the first iteration."""
        if not self._iter_started:
            self._iter_started = time.perf_counter()

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Advance the bar; refresh loss, learning rate and remaining time now and then."""
        bar = self._bars.get('train')
        if bar is None:
            return
        now = time.perf_counter()
        elapsed = now - self._iter_started
        self._iter_started = now
        before = elapsed if self._seconds_per_iter is None else self._seconds_per_iter
        self._seconds_per_iter = before + SMOOTHING * (elapsed - before)
        if now - self._refreshed >= self.refresh_seconds or bar.n + 1 >= (bar.total or 0):
            self._refreshed = now
            bar.set_postfix_str(self._figures(runner, outputs), refresh=False)
        bar.update()

    def after_train_epoch(self, runner: Any) -> None:
        """Close the bar."""
        self._close('train')

    def before_val_epoch(self, runner: Any) -> None:
        """Open the bar of a validation."""
        self._open(runner, 'val', 'validate', len(runner.val_dataloader))

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Advance the bar."""
        self._advance('val')

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Close the bar; validation time is not training time."""
        self._close('val')
        self._iter_started = time.perf_counter()

    def before_test_epoch(self, runner: Any) -> None:
        """Open the bar of a test."""
        self._open(runner, 'test', 'test', len(runner.test_dataloader))

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Advance the bar."""
        self._advance('test')

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Close the bar."""
        self._close('test')

    def _enabled(self) -> bool:
        return is_main_process() and (self.force or sys.stderr.isatty())

    def _open(self, runner: Any, key: str, title: str, total: int, initial: int = 0) -> None:
        if not self._enabled():
            return
        self._close(key)
        if self._redirect is None:
            self._redirect = contextlib.ExitStack()
            self._redirect.enter_context(logging_redirect_tqdm(loggers=[runner.logger]))
        leave = key != 'val'
        self._bars[key] = tqdm(total=total, initial=initial, desc=title, leave=leave, dynamic_ncols=True, unit='it')

    def _advance(self, key: str) -> None:
        if key in self._bars:
            self._bars[key].update()

    def _close(self, key: str) -> None:
        if key in self._bars:
            self._bars.pop(key).close()
        if not self._bars and self._redirect is not None:
            self._redirect.close()
            self._redirect = None

    def _closing(self, run: Callable) -> Callable:
        def closing(*args: Any, **kwargs: Any) -> Any:
            try:
                return run(*args, **kwargs)
            except BaseException:
                for key in list(self._bars):
                    self._close(key)
                raise

        return closing

    def _figures(self, runner: Any, outputs: Any) -> str:
        figures = []
        if isinstance(outputs, dict) and 'loss' in outputs:
            figures.append(f'loss={float(torch.as_tensor(outputs["loss"]).detach()):.4f}')
        rates = [value for key, value in runner.optim_wrapper.get_lr().items() if key.endswith('lr')]
        if rates:
            figures.append(f'lr={rates[0][0]:.2e}')
        left = runner.max_iters - runner.iter - 1
        figures.append(f'all done in {format_duration((self._seconds_per_iter or 0.0) * left)}')
        return ', '.join(figures)

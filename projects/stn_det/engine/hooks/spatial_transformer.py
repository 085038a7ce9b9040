"""Hooks for models with a spatial transformer: a calm start, and a guard against collapse."""

import logging
from collections.abc import Mapping
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from stn_det.errors import ConfigError, WarpCollapseError

ADVICE = (
    "Lower its learning rate (paramwise_cfg=dict(custom_keys={'transformer': dict(lr_mult=0.1)})), narrow its limits, "
    'add RegularitySignal or set detection_gradient=0: a detector can lower its loss by losing sight of objects'
)


@HOOKS.register_module()
class WarpWarmupHook(Hook):
    """Keeps the spatial transformer out of the way while the rest of a model begins to learn.

    While frozen the model sees images as they are; the signals that teach the pose go on. Validation sees the
    transformer at work.

    Args:
        iters: Iterations for which ``model.transformer`` is frozen.
        share: The same as a part of all iterations, in place of ``iters``; 1 for a detector that is trained as if it
            had no transformer, on images that stand right, with one that learns beside it.

    Raises:
        ConfigError: If not one of both is given, or it is out of range, or, when training starts, the model has no
            ``transformer``.
    """

    def __init__(self, iters: int | None = None, share: float | None = None) -> None:
        if (iters is None) == (share is None) or (iters or 0) < 0 or not 0 <= (share or 0) <= 1:
            raise ConfigError(
                f'iters is {iters} and share {share}; expected one of them: iterations of 0 or more, or a part from 0 '
                'to 1'
            )
        self.iters, self.share = iters or 0, share

    def before_train(self, runner: Runner) -> None:
        """Find the transformer.

        Args:
            runner: the mmengine runner, about to train.
        """
        self.transformer = _transformer(runner.model)
        if self.share is not None:
            self.iters = round(self.share * runner.max_iters)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Freeze or release.

        Args:
            runner: the runner; its ``iter`` counts, so a resumed run goes on where it was.
            batch_idx: not used.
            data_batch: not used.
        """
        self.transformer.frozen = runner.iter < self.iters

    def before_val_epoch(self, runner: Runner) -> None:
        """Release, so that what is validated is what would be used.

        Args:
            runner: not used.
        """
        self.transformer.frozen = False

    def after_train(self, runner: Runner) -> None:
        """Release, so that what follows training sees the transformer at work.

        Args:
            runner: not used.
        """
        self.transformer.frozen = False


@HOOKS.register_module()
class WarpGuardHook(Hook):
    """Warns of, or stops at, a spatial transformer that loses the image.

    Looks at ``stn_coverage`` and ``stn_scale`` among the logged figures of ``STNDetector``, averaged over about
    ``window`` iterations.

    Args:
        min_coverage: Least part of the image that should stay in the frame.
        scale_range: Least and greatest mean scale.
        window: Iterations of the moving average.
        action: 'warn', once each time the limits are crossed, or 'raise'.

    Raises:
        ConfigError: If an argument makes no sense.
        WarpCollapseError: During training, with 'raise'.
    """

    def __init__(
        self,
        min_coverage: float = 0.5,
        scale_range: tuple[float, float] = (0.5, 2.0),
        window: int = 100,
        action: str = 'warn',
    ) -> None:
        if action not in ('warn', 'raise'):
            raise ConfigError(f"action is {action!r}, expected 'warn' or 'raise'")
        if window < 1 or not 0 <= min_coverage <= 1 or not 0 < scale_range[0] < scale_range[1]:
            raise ConfigError(
                f'window is {window}, min_coverage {min_coverage}, scale_range {scale_range}; expected 1 or more, a '
                f'fraction, and a range of factors above 0'
            )
        self.limits = dict(stn_coverage=(min_coverage, float('inf')), stn_scale=tuple(scale_range))
        self.window, self.action = window, action
        self.means: dict[str, float] = {}
        self.seen = 0
        self.outside: set[str] = set()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, Any] | None = None
    ) -> None:
        """Average the figures and compare them.

        Args:
            runner: the runner.
            batch_idx: not used.
            data_batch: not used.
            outputs: log of the iteration by name.
        """
        figures = {name: outputs[name] for name in self.limits if outputs and name in outputs}
        self.seen += 1
        share = max(1 / self.seen, 1 / self.window)  # a plain mean until the window is full
        for name, value in figures.items():
            old = self.means.get(name, 0.0)
            self.means[name] = old + share * (float(value) - old)
        if self.seen < min(self.window, 20):
            return
        for name in figures:
            self._judge(name, runner.iter)

    def _judge(self, name: str, iteration: int) -> None:
        low, high = self.limits[name]
        mean = self.means[name]
        if low <= mean <= high:
            self.outside.discard(name)
            return
        message = (
            f'{name} is {mean:.3f} on average at iteration {iteration}, expected {low:g} to {high:g}: the spatial '
            f'transformer is losing the image. {ADVICE}'
        )
        if self.action == 'raise':
            raise WarpCollapseError(message)
        if name not in self.outside:
            print_log(message, logger='current', level=logging.WARNING)
        self.outside.add(name)


def _transformer(model: nn.Module) -> Any:
    whole: Any = model.module if is_model_wrapper(model) else model
    transformer = getattr(whole, 'transformer', None)
    if transformer is None or not hasattr(transformer, 'frozen'):
        raise ConfigError(
            f'{type(whole).__name__} has no spatial transformer; remove WarpWarmupHook, or use STNDetector'
        )
    return transformer

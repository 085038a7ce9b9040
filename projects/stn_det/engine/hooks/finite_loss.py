"""Stops (or skips) a batch whose loss is not finite, before it reaches the weights."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import nn

from stn_det.errors import ConfigError, NonFiniteLossError

ADVICE = (
    'Look at: (1) the annotations of these images: zero-area, NaN or far outside boxes; (2) the learning rate and its '
    'warm-up: lower it, or set optim_wrapper.clip_grad=dict(max_norm=35); (3) half precision: train one epoch in '
    'float32, or with AutocastOptimWrapper in bfloat16 instead of float16'
)


def batch_image_names(data_batch: Any) -> list[str]:
    """Paths (or else ids) of the images of a batch, whatever the nesting of its data samples.

    Args:
        data_batch: what the dataloader gave, usually ``dict(inputs=..., data_samples=[...])``.

    Returns:
        One entry per sample that names an image.
    """
    return list(_names(data_batch))


def _names(item: Any) -> Iterator[str]:
    if isinstance(item, Mapping):
        for value in (item['data_samples'],) if 'data_samples' in item else item.values():
            yield from _names(value)
    elif isinstance(item, (list, tuple)):
        for value in item:
            yield from _names(value)
    elif not isinstance(item, torch.Tensor):
        name = getattr(item, 'img_path', None) or getattr(item, 'img_id', None)
        if name is not None:
            yield str(name)


def non_finite_terms(losses: Mapping[str, Any]) -> dict[str, float]:
    """Loss terms that are NaN or infinite.

    Args:
        losses: raw losses as a model's ``loss`` returns them: tensors or lists of tensors by name; only names with
            ``loss`` in them enter the sum that is minimised, others are figures for the log.

    Returns:
        ``name`` or ``name[index]`` -> value.
    """
    found = {}
    for name, value in losses.items():
        if 'loss' not in name:
            continue
        parts = value if isinstance(value, (list, tuple)) else [value]
        for index, part in enumerate(parts):
            mean = part.detach().float().mean()
            if not torch.isfinite(mean):
                found[f'{name}[{index}]' if len(parts) > 1 else name] = float(mean)
    return found


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Guards the weights against a NaN or infinite loss.

    Without it training goes on with NaN weights for hours. The hook looks at the summed loss between the model's
    ``parse_losses`` and the optimiser, which costs one comparison an iteration.

    Args:
        action: ``'raise'`` stops with :class:`NonFiniteLossError`, which names terms, iteration and images. ``'skip'``
            warns, gives the batch zero gradients and goes on; the optimiser still steps, so that gradients accumulated
            before, or computed by other processes, are used.
        max_skips: batches in a row that ``'skip'`` lets pass; the next one raises. Default 3.

    Raises:
        ConfigError: unknown action, or ``'skip'`` with ``find_unused_parameters=True``, which DDP cannot combine.
        NonFiniteLossError: a loss is not finite.

    Example:
        >>> custom_hooks = [dict(type='FiniteLossHook', action='skip', max_skips=5)]
    """

    def __init__(self, action: str = 'raise', max_skips: int = 3) -> None:
        if action not in ('raise', 'skip'):
            raise ConfigError(f"FiniteLossHook action is {action!r}; expected 'raise' or 'skip'")
        self.action = action
        self.max_skips = max_skips
        self.total_skips = 0
        self._skips_in_a_row = 0
        self._data_batch: Any = None
        self._last_log: Mapping[str, torch.Tensor] | None = None
        self._model: nn.Module | None = None

    def before_train(self, runner: Any) -> None:
        """Put the guard around ``parse_losses`` of the model inside its distributed wrapper."""
        model = runner.model
        if is_model_wrapper(model):
            if self.action == 'skip' and getattr(model, 'find_unused_parameters', False):
                raise ConfigError(
                    "FiniteLossHook(action='skip') cannot work with find_unused_parameters=True; use action='raise'"
                )
            model = model.module
        self._release()
        self._model = model
        model.parse_losses = self._guarded(runner, model, model.parse_losses)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Remember the batch, to name its images."""
        self._data_batch = data_batch

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Let go of the batch."""
        self._data_batch = None

    def after_train(self, runner: Any) -> None:
        """Take the guard off."""
        self._release()

    def _release(self) -> None:
        if self._model is not None:
            self._model.__dict__.pop('parse_losses', None)
        self._model = None

    def _guarded(self, runner: Any, model: nn.Module, parse_losses: Callable) -> Callable:
        def guarded(losses: dict) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
            total, log_vars = parse_losses(losses)
            if bool(torch.isfinite(total.detach())):
                self._skips_in_a_row = 0
                self._last_log = OrderedDict((name, value.detach()) for name, value in log_vars.items())
                return total, log_vars
            message = self._message(runner, losses, total)
            if self.action == 'raise' or self._skips_in_a_row >= self.max_skips:
                self._release()
                raise NonFiniteLossError(message)
            self._skips_in_a_row += 1
            self.total_skips += 1
            print_log(f'batch skipped ({self.total_skips} so far): {message}', 'current', level=logging.WARNING)
            return _zero_loss(model), self._last_log or OrderedDict((name, total.new_zeros(())) for name in log_vars)

        return guarded

    def _message(self, runner: Any, losses: dict, total: torch.Tensor) -> str:
        terms = non_finite_terms(losses) or {'loss (sum of finite terms)': float(total.detach())}
        listed = ', '.join(f'{name} = {value}' for name, value in terms.items())
        images = ', '.join(batch_image_names(self._data_batch)) or 'unknown (the batch names none)'
        skipped = f', after {self._skips_in_a_row} skipped batches in a row' if self._skips_in_a_row else ''
        return (
            f'{listed} in iteration {runner.iter + 1} of epoch {runner.epoch + 1}{skipped}; expected finite losses. '
            f'Images of the batch: {images}. {ADVICE}'
        )


def _zero_loss(model: nn.Module) -> torch.Tensor:
    """A loss whose gradient is zero for every trainable parameter, without touching the graph that holds the NaN."""
    total = torch.zeros((), device=next(model.parameters()).device)
    for parameter in model.parameters():
        if parameter.requires_grad:
            total = total + (parameter.reshape(-1)[:1] * 0).sum()
    return total

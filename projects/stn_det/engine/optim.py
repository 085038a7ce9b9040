"""Mixed precision without a gradient scaler, on the CPU as well."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import nn

from stn_det.errors import ConfigError


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run the forward pass in bfloat16 where the device computes in it, weights and gradients staying float32.

    On a CPU without AVX-512 (or bfloat16 of Arm) it stays in float32, and says so once: such a CPU imitates bfloat16,
    at a step of many times the length.

    bfloat16 has the range of float32, so the loss needs no scaling; mmengine's ``AmpOptimWrapper``, which scales it,
    refuses the CPU. Mixed precision: Mixed Precision Training https://arxiv.org/abs/1710.03740

    Args:
        dtype: ``'bfloat16'``.
        clip_apart: Names of parts of the model, for example ``('transformer',)``, whose gradients are clipped by a norm
            of their own, so that none takes from the steps of another; the rest is clipped together as ever. Their
            norms are logged as ``grad_norm_<part>``.
        **kwargs: arguments of mmengine's ``OptimWrapper``: ``optimizer``, ``accumulative_counts``, ``clip_grad``.

    Raises:
        ConfigError: another dtype; float16 underflows without a scaler. Parts to clip apart without ``clip_grad``, or,
            at the first step, that the model does not have.

    Example:
        >>> optim_wrapper = dict(type='AutocastOptimWrapper', optimizer=dict(type='SGD', lr=0.01))
    """

    def __init__(self, dtype: str | torch.dtype = 'bfloat16', clip_apart: Sequence[str] = (), **kwargs: Any) -> None:
        name = str(dtype).removeprefix('torch.')
        if name in ('float16', 'half', 'fp16'):
            raise ConfigError(
                f'AutocastOptimWrapper dtype is {name!r}; float16 gradients underflow without a scaler. Use '
                "dtype='bfloat16', or type='AmpOptimWrapper', dtype='float16' on a GPU"
            )
        if name != 'bfloat16':
            raise ConfigError(
                f"AutocastOptimWrapper dtype is {name!r}; expected 'bfloat16' (for float32 use type='OptimWrapper')"
            )
        if clip_apart and not kwargs.get('clip_grad'):
            raise ConfigError(
                f'clip_apart is {tuple(clip_apart)} without clip_grad; expected clip_grad=dict(max_norm=...)'
            )
        super().__init__(**kwargs)
        self.dtype = torch.bfloat16
        self.clip_apart = tuple(clip_apart)
        self._parts: dict[str, list[nn.Parameter]] = {}
        self._told = False

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context of the forward pass: autocast, and no gradient exchange while gradients accumulate."""
        if self.clip_apart and not self._parts:
            self._parts = _parted(model, self.clip_apart)
        device = next(model.parameters()).device.type
        lower = device != 'cpu' or cpu_computes_bfloat16()
        if not (lower or self._told):
            print_log('AutocastOptimWrapper: this CPU only imitates bfloat16, so training stays in float32.', 'current')
            self._told = True
        with super().optim_context(model), torch.autocast(device, dtype=self.dtype, enabled=lower):
            yield

    def _clip_grad(self) -> None:
        """Clips the gradients of all weights together, or of each part and of the rest."""
        if not self._parts:
            super()._clip_grad()
        for name, weights in self._parts.items():
            given = [weight for weight in weights if weight.grad is not None]
            norm = self.clip_func(given, **self.clip_grad_kwargs) if given else None
            if norm is not None:  # clipped by norm, not by value
                self.message_hub.update_scalar(f'train/{self.grad_name}{name and "_"}{name}', float(norm))


def _parted(model: nn.Module, names: Sequence[str]) -> dict[str, list[nn.Parameter]]:
    """Weights of each part of a model by its name, and those of the rest by ''."""
    model = getattr(model, 'module', model)  # of DistributedDataParallel
    parts: dict[str, list[nn.Parameter]] = {name: [] for name in ('', *names)}
    for path, weight in model.named_parameters():
        parts[next((name for name in names if path.startswith(f'{name}.')), '')].append(weight)
    for name in names:
        if not parts[name]:
            found = ', '.join(child for child, _ in model.named_children())
            raise ConfigError(f'clip_apart names {name!r}, which holds no weights; the model has {found}')
    return parts


def cpu_computes_bfloat16() -> bool:
    """Whether convolutions and products in bfloat16 have kernels for this CPU."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a PyTorch without oneDNN
        return False

"""Mixed precision without a gradient scaler, on the CPU as well."""

from collections.abc import Iterator
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
        **kwargs: arguments of mmengine's ``OptimWrapper``: ``optimizer``, ``accumulative_counts``, ``clip_grad``.

    Raises:
        ConfigError: another dtype; float16 underflows without a scaler.

    Example:
        >>> optim_wrapper = dict(type='AutocastOptimWrapper', optimizer=dict(type='SGD', lr=0.01))
    """

    def __init__(self, dtype: str | torch.dtype = 'bfloat16', **kwargs: Any) -> None:
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
        super().__init__(**kwargs)
        self.dtype = torch.bfloat16
        self._told = False

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context of the forward pass: autocast, and no gradient exchange while gradients accumulate."""
        device = next(model.parameters()).device.type
        lower = device != 'cpu' or cpu_computes_bfloat16()
        if not (lower or self._told):
            print_log('AutocastOptimWrapper: this CPU only imitates bfloat16, so training stays in float32.', 'current')
            self._told = True
        with super().optim_context(model), torch.autocast(device, dtype=self.dtype, enabled=lower):
            yield


def cpu_computes_bfloat16() -> bool:
    """Whether convolutions and products in bfloat16 have kernels for this CPU."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a PyTorch without oneDNN
        return False

"""Mixed precision without a gradient scaler, on the CPU as well."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.optim import OptimWrapper
from torch import nn

from stn_det.errors import ConfigError


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run the forward pass in bfloat16 on whichever device the model is, weights and gradients staying float32.

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

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context of the forward pass: autocast, and no gradient exchange while gradients accumulate."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=self.dtype):
            yield

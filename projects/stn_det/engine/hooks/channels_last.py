"""Stores convolution weights channels-last."""

from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Move the model to the channels-last memory format before training, validation or testing begins.

    Values do not change. Convolutions then run channels-last throughout, which the kernels for bfloat16 and TF32 are
    made for. Background: (Beta) Channels Last Memory Format in PyTorch
    https://pytorch.org/tutorials/intermediate/memory_format_tutorial.html

    Example:
        >>> custom_hooks = [dict(type='ChannelsLastHook')]
    """

    def before_run(self, runner: Any) -> None:
        """Convert every 4-d parameter and buffer in place."""
        runner.model.to(memory_format=torch.channels_last)

"""Folds batch norms that only apply stored statistics into the convolutions before them."""

from typing import Any

from mmcv.cnn import ConvModule
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from torch import nn


@HOOKS.register_module()
class FoldNormHook(Hook):
    """Run convolution and batch norm as one convolution wherever the batch norm is in evaluation mode.

    That is everywhere in validation and testing, and in training with ``norm_eval=True`` or in frozen stages. Values
    agree up to rounding, gradients still reach the weights of both, and checkpoints do not change; a pass over the
    activations and a copy of them in memory are saved. Proposed in "Efficient ConvBN Blocks for Transfer Learning and
    Beyond" https://arxiv.org/abs/2305.11624; done by mmcv's ``ConvModule``, so backbones built from other blocks
    (mmdet's ResNet) gain nothing and lose nothing.

    Example:
        >>> custom_hooks = [dict(type='FoldNormHook')]
    """

    def before_run(self, runner: Any) -> None:
        """Turn folding on in the whole model."""
        fold_norms(runner.model)


def fold_norms(model: nn.Module) -> None:
    """Turn folding on for every block of a plain convolution and a batch norm in ``model``; see the hook."""
    for module in model.modules():
        # deformable convolutions take more than (input, weight, bias)
        if isinstance(module, ConvModule) and type(getattr(module, 'conv', None)) is nn.Conv2d:
            module.turn_on_efficient_conv_bn_eval(True)

"""Training machinery: hooks, optimiser wrapper, resuming."""

from .hooks import (
    ChannelsLastHook,
    CleanEpochsHook,
    FiniteLossHook,
    FoldNormHook,
    ProgressBarHook,
    WarpGuardHook,
    WarpPictureHook,
    WarpWarmupHook,
    fold_norms,
)
from .optim import AutocastOptimWrapper

__all__ = [
    'AutocastOptimWrapper',
    'ChannelsLastHook',
    'CleanEpochsHook',
    'FiniteLossHook',
    'FoldNormHook',
    'ProgressBarHook',
    'WarpGuardHook',
    'WarpPictureHook',
    'WarpWarmupHook',
    'fold_norms',
]

"""Training machinery: hooks, optimiser wrapper, resuming."""

from .hooks import ChannelsLastHook, FiniteLossHook, FoldNormHook, ProgressBarHook
from .optim import AutocastOptimWrapper

__all__ = ['AutocastOptimWrapper', 'ChannelsLastHook', 'FiniteLossHook', 'FoldNormHook', 'ProgressBarHook']

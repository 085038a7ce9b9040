"""Hooks, one file each."""

from .channels_last import ChannelsLastHook
from .clean_epochs import CleanEpochsHook
from .finite_loss import FiniteLossHook
from .fold_norm import FoldNormHook, fold_norms
from .progress_bar import ProgressBarHook
from .spatial_transformer import WarpGuardHook, WarpWarmupHook
from .warp_picture import WarpPictureHook

__all__ = [
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

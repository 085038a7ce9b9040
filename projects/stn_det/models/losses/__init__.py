"""Losses on oriented boxes."""

from .box_losses import GaussianBoxLoss, OrientedIoULoss
from .gaussian import gwd_distance, kld_distance, probiou_distance

__all__ = ['GaussianBoxLoss', 'OrientedIoULoss', 'gwd_distance', 'kld_distance', 'probiou_distance']

"""Modules that mmdet builds from configs; importing this room registers them."""

from .dense_heads import OrientedPointHead
from .detectors import STNDetector
from .losses import GaussianBoxLoss, OrientedIoULoss
from .stn import LocalizationNetwork, OrientationLocalizer, SpatialTransformer
from .task_modules import OrientedPointCoder, RotatedTaskAlignedAssigner

__all__ = [
    'GaussianBoxLoss',
    'LocalizationNetwork',
    'OrientationLocalizer',
    'OrientedIoULoss',
    'OrientedPointCoder',
    'OrientedPointHead',
    'RotatedTaskAlignedAssigner',
    'STNDetector',
    'SpatialTransformer',
]

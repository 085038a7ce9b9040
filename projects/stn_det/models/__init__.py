"""Modules that mmdet builds from configs; importing this room registers them."""

from .data_preprocessors import PairedDetDataPreprocessor
from .dense_heads import OrientedPointHead
from .detectors import STNDetector, TwoStreamDetector
from .fusion import AddFusion, ConcatFusion
from .losses import GaussianBoxLoss, OrientedIoULoss
from .stn import LocalizationNetwork, OrientationLocalizer, SpatialTransformer
from .task_modules import OrientedPointCoder, RotatedTaskAlignedAssigner

__all__ = [
    'AddFusion',
    'ConcatFusion',
    'GaussianBoxLoss',
    'LocalizationNetwork',
    'OrientationLocalizer',
    'OrientedIoULoss',
    'OrientedPointCoder',
    'OrientedPointHead',
    'PairedDetDataPreprocessor',
    'RotatedTaskAlignedAssigner',
    'STNDetector',
    'SpatialTransformer',
    'TwoStreamDetector',
]

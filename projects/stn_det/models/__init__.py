"""Modules that mmdet builds from configs; importing this room registers them."""

from .data_preprocessors import PairedDetDataPreprocessor
from .dense_heads import OrientedPointHead
from .detectors import TwoStreamDetector
from .fusion import AddFusion, ConcatFusion
from .losses import GaussianBoxLoss, OrientedIoULoss
from .task_modules import OrientedPointCoder, RotatedTaskAlignedAssigner

__all__ = [
    'AddFusion',
    'ConcatFusion',
    'GaussianBoxLoss',
    'OrientedIoULoss',
    'OrientedPointCoder',
    'OrientedPointHead',
    'PairedDetDataPreprocessor',
    'RotatedTaskAlignedAssigner',
    'TwoStreamDetector',
]

"""Modules that mmdet builds from configs; importing this room registers them."""

from .dense_heads import OrientedPointHead
from .detectors import AlignedSingleStageDetector
from .losses import GaussianBoxLoss, OrientedIoULoss
from .necks import AlignedFPN, STNAlignNeck, STNGlobalNeck
from .stn import CrossSensorAlign
from .task_modules import OrientedPointCoder, RotatedTaskAlignedAssigner

__all__ = [
    'AlignedFPN',
    'AlignedSingleStageDetector',
    'CrossSensorAlign',
    'GaussianBoxLoss',
    'OrientedIoULoss',
    'OrientedPointCoder',
    'OrientedPointHead',
    'RotatedTaskAlignedAssigner',
    'STNAlignNeck',
    'STNGlobalNeck',
]

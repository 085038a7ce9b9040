"""Modules that mmdet builds from configs; importing this room registers them."""

from .data_preprocessors import PairedDetDataPreprocessor
from .dense_heads import OrientedPointHead
from .detectors import AlignedSingleStageDetector, OrientedTTAModel, STNDetector, TwoStreamDetector
from .fusion import AddFusion, ConcatFusion
from .losses import GaussianBoxLoss, OrientedIoULoss
from .necks import AlignedFPN, STNAlignNeck, STNGlobalNeck
from .stn import CrossSensorAlign, LocalizationNetwork, OrientationLocalizer, SpatialTransformer
from .task_modules import (
    DeltaXYWHTRBBoxCoder,
    OrientedPointCoder,
    RBboxOverlaps2D,
    RotatedTaskAlignedAssigner,
)

__all__ = [
    'AddFusion',
    'AlignedFPN',
    'AlignedSingleStageDetector',
    'ConcatFusion',
    'CrossSensorAlign',
    'DeltaXYWHTRBBoxCoder',
    'GaussianBoxLoss',
    'LocalizationNetwork',
    'OrientationLocalizer',
    'OrientedIoULoss',
    'OrientedPointCoder',
    'OrientedPointHead',
    'OrientedTTAModel',
    'PairedDetDataPreprocessor',
    'RBboxOverlaps2D',
    'RotatedTaskAlignedAssigner',
    'STNAlignNeck',
    'STNDetector',
    'STNGlobalNeck',
    'SpatialTransformer',
    'TwoStreamDetector',
]

"""Modules that mmdet builds from configs; importing this room registers them."""

from .data_preprocessors import PairedDetDataPreprocessor
from .dense_heads import OrientedAlignHead, OrientedPointHead, RotatedRTMDetSepBNHead
from .detectors import AlignedSingleStageDetector, OrientedTTAModel, STNDetector, TwoStreamDetector
from .fusion import AddFusion, ConcatFusion
from .losses import GaussianBoxLoss, OrientedIoULoss
from .necks import AlignedFPN, STNAlignNeck, STNGlobalNeck
from .stn import CrossSensorAlign, LocalizationNetwork, OrientationLocalizer, SpatialTransformer
from .task_modules import (
    DeltaXYWHTRBBoxCoder,
    DistanceAnglePointCoder,
    DoubleAngleCoder,
    OrientedPointCoder,
    PseudoAngleCoder,
    RBboxOverlaps2D,
    RotatedDynamicSoftLabelAssigner,
    RotatedMaxIoUAssigner,
    RotatedTaskAlignedAssigner,
)

__all__ = [
    'AddFusion',
    'AlignedFPN',
    'AlignedSingleStageDetector',
    'ConcatFusion',
    'CrossSensorAlign',
    'DeltaXYWHTRBBoxCoder',
    'DistanceAnglePointCoder',
    'DoubleAngleCoder',
    'GaussianBoxLoss',
    'LocalizationNetwork',
    'OrientationLocalizer',
    'OrientedAlignHead',
    'OrientedIoULoss',
    'OrientedPointCoder',
    'OrientedPointHead',
    'OrientedTTAModel',
    'PairedDetDataPreprocessor',
    'PseudoAngleCoder',
    'RBboxOverlaps2D',
    'RotatedDynamicSoftLabelAssigner',
    'RotatedMaxIoUAssigner',
    'RotatedRTMDetSepBNHead',
    'RotatedTaskAlignedAssigner',
    'STNAlignNeck',
    'STNDetector',
    'STNGlobalNeck',
    'SpatialTransformer',
    'TwoStreamDetector',
]

"""Modules that mmdet builds from configs; importing this room registers them."""

from .backbones import LargeKernelCSPNeXt
from .data_preprocessors import PairedDetDataPreprocessor
from .dense_heads import OrientedPointHead, RotatedRTMDetSepBNHead
from .detectors import AlignedSingleStageDetector, OrientedTTAModel, STNDetector, TwoStreamDetector
from .fusion import AddFusion, ConcatFusion
from .losses import GaussianBoxLoss, OrientedIoULoss
from .necks import AlignedFPN, STNAlignNeck, STNGlobalNeck
from .stn import CrossSensorAlign, LocalizationNetwork, OrientationLocalizer, SpatialTransformer
from .task_modules import (
    DistanceAnglePointCoder,
    DoubleAngleCoder,
    OrientedPointCoder,
    PseudoAngleCoder,
    RotatedDynamicSoftLabelAssigner,
    RotatedTaskAlignedAssigner,
)

__all__ = [
    'AddFusion',
    'AlignedFPN',
    'AlignedSingleStageDetector',
    'ConcatFusion',
    'CrossSensorAlign',
    'DistanceAnglePointCoder',
    'DoubleAngleCoder',
    'GaussianBoxLoss',
    'LargeKernelCSPNeXt',
    'LocalizationNetwork',
    'OrientationLocalizer',
    'OrientedIoULoss',
    'OrientedPointCoder',
    'OrientedPointHead',
    'OrientedTTAModel',
    'PairedDetDataPreprocessor',
    'PseudoAngleCoder',
    'RotatedDynamicSoftLabelAssigner',
    'RotatedRTMDetSepBNHead',
    'RotatedTaskAlignedAssigner',
    'STNAlignNeck',
    'STNDetector',
    'STNGlobalNeck',
    'SpatialTransformer',
    'TwoStreamDetector',
]

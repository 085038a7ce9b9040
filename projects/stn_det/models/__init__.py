"""Modules that mmdet builds from configs; importing this room registers them."""

from .backbones import LargeKernelCSPNeXt
from .data_preprocessors import PairedDetDataPreprocessor
from .dense_heads import OrientedPointHead, RotatedRTMDetSepBNHead
from .detectors import AlignedSingleStageDetector, OrientedTTAModel, STNDetector, TwoStreamDetector
from .fusion import AddFusion, ConcatFusion
from .losses import (
    ConvexGIoULoss,
    GaussianBoxLoss,
    HausdorffLoss,
    KFLoss,
    OrientedIoULoss,
    PeriodicL1Loss,
    SmoothFocalLoss,
)
from .necks import AlignedFPN, STNAlignNeck, STNGlobalNeck
from .stn import CrossSensorAlign, LocalizationNetwork, OrientationLocalizer, SpatialTransformer
from .task_modules import (
    ACMCoder,
    CSLCoder,
    DFLAngleCoder,
    DistanceAnglePointCoder,
    HausdorffCost,
    OrientedPointCoder,
    PSCCoder,
    PseudoAngleCoder,
    RotatedDynamicSoftLabelAssigner,
    RotatedTaskAlignedAssigner,
)

__all__ = [
    'ACMCoder',
    'AddFusion',
    'AlignedFPN',
    'AlignedSingleStageDetector',
    'CSLCoder',
    'ConcatFusion',
    'ConvexGIoULoss',
    'CrossSensorAlign',
    'DFLAngleCoder',
    'DistanceAnglePointCoder',
    'GaussianBoxLoss',
    'HausdorffCost',
    'HausdorffLoss',
    'KFLoss',
    'LargeKernelCSPNeXt',
    'LocalizationNetwork',
    'OrientationLocalizer',
    'OrientedIoULoss',
    'OrientedPointCoder',
    'OrientedPointHead',
    'OrientedTTAModel',
    'PSCCoder',
    'PairedDetDataPreprocessor',
    'PeriodicL1Loss',
    'PseudoAngleCoder',
    'RotatedDynamicSoftLabelAssigner',
    'RotatedRTMDetSepBNHead',
    'RotatedTaskAlignedAssigner',
    'STNAlignNeck',
    'STNDetector',
    'STNGlobalNeck',
    'SmoothFocalLoss',
    'SpatialTransformer',
    'TwoStreamDetector',
]

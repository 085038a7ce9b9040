"""Modules that mmdet builds from configs; importing this room registers them."""

from .backbones import LargeKernelCSPNeXt
from .data_preprocessors import PairedDetDataPreprocessor
from .dense_heads import OrientedAlignHead, OrientedPointHead, RotatedRTMDetSepBNHead, S2AHead
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
    DeltaXYWHTRBBoxCoder,
    DFLAngleCoder,
    DistanceAnglePointCoder,
    HausdorffCost,
    OrientedPointCoder,
    PSCCoder,
    PseudoAngleCoder,
    RBboxOverlaps2D,
    RotatedDynamicSoftLabelAssigner,
    RotatedMaxIoUAssigner,
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
    'DeltaXYWHTRBBoxCoder',
    'DistanceAnglePointCoder',
    'GaussianBoxLoss',
    'HausdorffCost',
    'HausdorffLoss',
    'KFLoss',
    'LargeKernelCSPNeXt',
    'LocalizationNetwork',
    'OrientationLocalizer',
    'OrientedAlignHead',
    'OrientedIoULoss',
    'OrientedPointCoder',
    'OrientedPointHead',
    'OrientedTTAModel',
    'PSCCoder',
    'PairedDetDataPreprocessor',
    'PeriodicL1Loss',
    'PseudoAngleCoder',
    'RBboxOverlaps2D',
    'RotatedDynamicSoftLabelAssigner',
    'RotatedMaxIoUAssigner',
    'RotatedRTMDetSepBNHead',
    'RotatedTaskAlignedAssigner',
    'S2AHead',
    'STNAlignNeck',
    'STNDetector',
    'STNGlobalNeck',
    'SmoothFocalLoss',
    'SpatialTransformer',
    'TwoStreamDetector',
]

"""Modules that mmdet builds from configs; importing this room registers them."""

from .backbones import LargeKernelCSPNeXt
from .data_preprocessors import PairedDetDataPreprocessor
from .dense_heads import (
    OrientedAlignHead,
    OrientedPointHead,
    OrientedRPNHead,
    RotatedRPNHead,
    RotatedRTMDetSepBNHead,
    S2AHead,
)
from .detectors import AlignedSingleStageDetector, OrientedTTAModel, STNDetector, TwoStreamDetector
from .fusion import AddFusion, ConcatFusion
from .layers import HybridEncoder
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
from .roi_heads import (
    OrientedStandardRoIHead,
    RoIHeading,
    RoITransRoIHead,
    RotatedShared2FCBBoxHead,
    RotatedSingleRoIExtractor,
)
from .stn import CrossSensorAlign, LocalizationNetwork, OrientationLocalizer, SpatialTransformer
from .task_modules import (
    ACMCoder,
    ChunkedMaxIoUAssigner,
    CSLCoder,
    DeltaXYWHTHBBoxCoder,
    DeltaXYWHTRBBoxCoder,
    DFLAngleCoder,
    DistanceAnglePointCoder,
    HausdorffCost,
    MidpointOffsetCoder,
    OrientedPointCoder,
    PSCCoder,
    PseudoAngleCoder,
    RBboxOverlaps2D,
    RotatedDynamicSoftLabelAssigner,
    RotatedTaskAlignedAssigner,
)

__all__ = [
    'ACMCoder',
    'AddFusion',
    'AlignedFPN',
    'AlignedSingleStageDetector',
    'CSLCoder',
    'ChunkedMaxIoUAssigner',
    'ConcatFusion',
    'ConvexGIoULoss',
    'CrossSensorAlign',
    'DFLAngleCoder',
    'DeltaXYWHTHBBoxCoder',
    'DeltaXYWHTRBBoxCoder',
    'DistanceAnglePointCoder',
    'GaussianBoxLoss',
    'HausdorffCost',
    'HausdorffLoss',
    'HybridEncoder',
    'KFLoss',
    'LargeKernelCSPNeXt',
    'LocalizationNetwork',
    'MidpointOffsetCoder',
    'OrientationLocalizer',
    'OrientedAlignHead',
    'OrientedIoULoss',
    'OrientedPointCoder',
    'OrientedPointHead',
    'OrientedRPNHead',
    'OrientedStandardRoIHead',
    'OrientedTTAModel',
    'PSCCoder',
    'PairedDetDataPreprocessor',
    'PeriodicL1Loss',
    'PseudoAngleCoder',
    'RBboxOverlaps2D',
    'RoIHeading',
    'RoITransRoIHead',
    'RotatedDynamicSoftLabelAssigner',
    'RotatedRPNHead',
    'RotatedRTMDetSepBNHead',
    'RotatedShared2FCBBoxHead',
    'RotatedSingleRoIExtractor',
    'RotatedTaskAlignedAssigner',
    'S2AHead',
    'STNAlignNeck',
    'STNDetector',
    'STNGlobalNeck',
    'SmoothFocalLoss',
    'SpatialTransformer',
    'TwoStreamDetector',
]

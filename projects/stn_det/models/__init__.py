"""Modules that mmdet builds from configs; importing this room registers them."""

from .data_preprocessors import PairedDetDataPreprocessor
from .dense_heads import OrientedPointHead, OrientedRPNHead, RotatedRPNHead
from .detectors import AlignedSingleStageDetector, OrientedTTAModel, STNDetector, TwoStreamDetector
from .fusion import AddFusion, ConcatFusion
from .losses import GaussianBoxLoss, OrientedIoULoss
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
    ChunkedMaxIoUAssigner,
    DeltaXYWHTHBBoxCoder,
    DeltaXYWHTRBBoxCoder,
    MidpointOffsetCoder,
    OrientedPointCoder,
    RBboxOverlaps2D,
    RotatedTaskAlignedAssigner,
)

__all__ = [
    'AddFusion',
    'AlignedFPN',
    'AlignedSingleStageDetector',
    'ChunkedMaxIoUAssigner',
    'ConcatFusion',
    'CrossSensorAlign',
    'DeltaXYWHTHBBoxCoder',
    'DeltaXYWHTRBBoxCoder',
    'GaussianBoxLoss',
    'LocalizationNetwork',
    'MidpointOffsetCoder',
    'OrientationLocalizer',
    'OrientedIoULoss',
    'OrientedPointCoder',
    'OrientedPointHead',
    'OrientedRPNHead',
    'OrientedStandardRoIHead',
    'OrientedTTAModel',
    'PairedDetDataPreprocessor',
    'RBboxOverlaps2D',
    'RoIHeading',
    'RoITransRoIHead',
    'RotatedRPNHead',
    'RotatedShared2FCBBoxHead',
    'RotatedSingleRoIExtractor',
    'RotatedTaskAlignedAssigner',
    'STNAlignNeck',
    'STNDetector',
    'STNGlobalNeck',
    'SpatialTransformer',
    'TwoStreamDetector',
]

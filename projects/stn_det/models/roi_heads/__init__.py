"""Second stages of detectors: what is predicted of proposals."""

from .bbox_heads import RotatedShared2FCBBoxHead
from .oriented_standard_roi_head import OrientedStandardRoIHead
from .roi_extractors import RotatedSingleRoIExtractor
from .roi_heading import RoIHeading
from .roi_trans_roi_head import RoITransRoIHead

__all__ = [
    'OrientedStandardRoIHead',
    'RoIHeading',
    'RoITransRoIHead',
    'RotatedShared2FCBBoxHead',
    'RotatedSingleRoIExtractor',
]

"""Second stages of detectors: what is predicted of proposals."""

from .bbox_heads import RotatedShared2FCBBoxHead
from .oriented_standard_roi_head import OrientedStandardRoIHead
from .roi_extractors import RotatedSingleRoIExtractor

__all__ = [
    'OrientedStandardRoIHead',
    'RotatedShared2FCBBoxHead',
    'RotatedSingleRoIExtractor',
]

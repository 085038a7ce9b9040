"""Features of regions of interest."""

from .rotated_single_roi_extractor import RotatedSingleRoIExtractor

__all__ = ['RotatedSingleRoIExtractor']

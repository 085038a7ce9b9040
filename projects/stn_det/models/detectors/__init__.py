"""Detectors that wrap or extend those of mmdet."""

from .stn_detector import STNDetector

__all__ = ['STNDetector']

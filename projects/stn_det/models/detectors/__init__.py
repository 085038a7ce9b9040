"""Detectors that are more than a backbone, a neck and a head."""

from .aligned_single_stage import AlignedSingleStageDetector

__all__ = ['AlignedSingleStageDetector']

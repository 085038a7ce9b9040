"""Detectors that are more than a backbone, a neck and a head."""

from .two_stream import TwoStreamDetector

__all__ = ['TwoStreamDetector']

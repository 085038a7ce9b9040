"""Necks that align features."""

from .stn_align_neck import STNAlignNeck

__all__ = ['STNAlignNeck']

"""Necks that align features."""

from .stn_align_neck import STNAlignNeck
from .stn_global_neck import STNGlobalNeck

__all__ = ['STNAlignNeck', 'STNGlobalNeck']

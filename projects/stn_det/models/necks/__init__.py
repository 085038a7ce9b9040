"""Necks that align features."""

from .aligned_fpn import AlignedFPN
from .stn_align_neck import STNAlignNeck
from .stn_global_neck import STNGlobalNeck

__all__ = ['AlignedFPN', 'STNAlignNeck', 'STNGlobalNeck']

"""Coders of angles: one number or many, with and without a seam."""

from .acm_coder import ACMCoder
from .base import AngleCoder, nearest_branch, vector_angle
from .csl_coder import CSLCoder
from .dfl_angle_coder import DFLAngleCoder
from .psc_coder import PSCCoder
from .pseudo_angle_coder import PseudoAngleCoder

__all__ = [
    'ACMCoder',
    'AngleCoder',
    'CSLCoder',
    'DFLAngleCoder',
    'PSCCoder',
    'PseudoAngleCoder',
    'nearest_branch',
    'vector_angle',
]

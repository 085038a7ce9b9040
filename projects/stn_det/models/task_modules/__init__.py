"""Coders and assigners of the dense heads."""

from .oriented_point_coder import OrientedPointCoder
from .rotated_tal_assigner import PointAssignment, RotatedTaskAlignedAssigner

__all__ = ['OrientedPointCoder', 'PointAssignment', 'RotatedTaskAlignedAssigner']

"""Coders and assigners of the dense heads."""

from .frame_targets import FrameTargets, as_rboxes, frame_targets
from .oriented_point_coder import OrientedPointCoder
from .rotated_tal_assigner import PointAssignment, RotatedTaskAlignedAssigner

__all__ = [
    'FrameTargets',
    'OrientedPointCoder',
    'PointAssignment',
    'RotatedTaskAlignedAssigner',
    'as_rboxes',
    'frame_targets',
]

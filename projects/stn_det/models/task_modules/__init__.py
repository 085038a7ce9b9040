"""Coders and assigners of the dense heads."""

from .delta_xywht_coder import DeltaXYWHTRBBoxCoder
from .frame_targets import FrameTargets, as_rboxes, frame_targets
from .oriented_point_coder import OrientedPointCoder
from .rotated_overlaps import RBboxOverlaps2D
from .rotated_tal_assigner import PointAssignment, RotatedTaskAlignedAssigner

__all__ = [
    'DeltaXYWHTRBBoxCoder',
    'FrameTargets',
    'OrientedPointCoder',
    'PointAssignment',
    'RBboxOverlaps2D',
    'RotatedTaskAlignedAssigner',
    'as_rboxes',
    'frame_targets',
]

"""Coders and assigners of the dense heads."""

from .angle_coders import ACMCoder, AngleCoder, CSLCoder, DFLAngleCoder, PSCCoder, PseudoAngleCoder
from .frame_targets import FrameTargets, as_rboxes, frame_targets
from .hausdorff_cost import HausdorffCost
from .oriented_point_coder import OrientedPointCoder
from .rotated_tal_assigner import PointAssignment, RotatedTaskAlignedAssigner

__all__ = [
    'ACMCoder',
    'AngleCoder',
    'CSLCoder',
    'DFLAngleCoder',
    'FrameTargets',
    'HausdorffCost',
    'OrientedPointCoder',
    'PSCCoder',
    'PointAssignment',
    'PseudoAngleCoder',
    'RotatedTaskAlignedAssigner',
    'as_rboxes',
    'frame_targets',
]

"""Coders and assigners of the dense heads."""

from .angle_coders import ACMCoder, AngleCoder, CSLCoder, DFLAngleCoder, PSCCoder, PseudoAngleCoder
from .distance_angle_point_coder import DistanceAnglePointCoder
from .dynamic_soft_label_assigner import RotatedDynamicSoftLabelAssigner
from .frame_targets import FrameTargets, as_rboxes, frame_targets
from .hausdorff_cost import HausdorffCost
from .oriented_point_coder import OrientedPointCoder
from .point_assignment import PointAssignment
from .rotated_tal_assigner import RotatedTaskAlignedAssigner

__all__ = [
    'ACMCoder',
    'AngleCoder',
    'CSLCoder',
    'DFLAngleCoder',
    'DistanceAnglePointCoder',
    'FrameTargets',
    'HausdorffCost',
    'OrientedPointCoder',
    'PSCCoder',
    'PointAssignment',
    'PseudoAngleCoder',
    'RotatedDynamicSoftLabelAssigner',
    'RotatedTaskAlignedAssigner',
    'as_rboxes',
    'frame_targets',
]

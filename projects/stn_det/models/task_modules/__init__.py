"""Coders and assigners of the dense heads."""

from .delta_xywht_coder import DeltaXYWHTRBBoxCoder
from .distance_angle_point_coder import DistanceAnglePointCoder
from .double_angle_coder import DoubleAngleCoder
from .dynamic_soft_label_assigner import RotatedDynamicSoftLabelAssigner
from .frame_targets import FrameTargets, as_rboxes, frame_targets
from .oriented_point_coder import OrientedPointCoder
from .point_assignment import PointAssignment
from .pseudo_angle_coder import PseudoAngleCoder
from .rotated_max_iou_assigner import RotatedMaxIoUAssigner
from .rotated_overlaps import RBboxOverlaps2D
from .rotated_tal_assigner import RotatedTaskAlignedAssigner

__all__ = [
    'DeltaXYWHTRBBoxCoder',
    'DistanceAnglePointCoder',
    'DoubleAngleCoder',
    'FrameTargets',
    'OrientedPointCoder',
    'PointAssignment',
    'PseudoAngleCoder',
    'RBboxOverlaps2D',
    'RotatedDynamicSoftLabelAssigner',
    'RotatedMaxIoUAssigner',
    'RotatedTaskAlignedAssigner',
    'as_rboxes',
    'frame_targets',
]

"""Coders and assigners of the dense heads."""

from .angle_coders import (
    ACMCoder,
    AngleCoder,
    CSLCoder,
    DFLAngleCoder,
    PSCCoder,
    PseudoAngleCoder,
)
from .assignment import Match, solve_assignments
from .batch_hungarian_assigner import BatchHungarianAssigner
from .chunked_max_iou_assigner import ChunkedMaxIoUAssigner
from .delta_xywht_coder import DeltaXYWHTRBBoxCoder
from .delta_xywht_hbbox_coder import DeltaXYWHTHBBoxCoder
from .distance_angle_point_coder import DistanceAnglePointCoder
from .dynamic_soft_label_assigner import RotatedDynamicSoftLabelAssigner
from .frame_targets import FrameTargets, as_rboxes, frame_targets
from .hausdorff_cost import HausdorffCost
from .midpoint_offset_coder import MidpointOffsetCoder
from .oriented_point_coder import OrientedPointCoder
from .point_assignment import PointAssignment
from .rotated_overlaps import RBboxOverlaps2D
from .rotated_tal_assigner import RotatedTaskAlignedAssigner

__all__ = [
    'ACMCoder',
    'AngleCoder',
    'BatchHungarianAssigner',
    'CSLCoder',
    'ChunkedMaxIoUAssigner',
    'DFLAngleCoder',
    'DeltaXYWHTHBBoxCoder',
    'DeltaXYWHTRBBoxCoder',
    'DistanceAnglePointCoder',
    'FrameTargets',
    'HausdorffCost',
    'Match',
    'MidpointOffsetCoder',
    'OrientedPointCoder',
    'PSCCoder',
    'PointAssignment',
    'PseudoAngleCoder',
    'RBboxOverlaps2D',
    'RotatedDynamicSoftLabelAssigner',
    'RotatedTaskAlignedAssigner',
    'as_rboxes',
    'frame_targets',
    'solve_assignments',
]

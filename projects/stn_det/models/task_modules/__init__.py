"""Coders and assigners of the dense heads."""

from .adaptive_denoising import adaptive_denoising
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
from .chamfer_cost import ChamferCost
from .chunked_max_iou_assigner import ChunkedMaxIoUAssigner
from .delta_xywht_coder import DeltaXYWHTRBBoxCoder
from .delta_xywht_hbbox_coder import DeltaXYWHTHBBoxCoder
from .distance_angle_point_coder import DistanceAnglePointCoder
from .dynamic_soft_label_assigner import RotatedDynamicSoftLabelAssigner
from .frame_targets import FrameTargets, as_rboxes, frame_targets
from .gaussian_cost import GaussianCost
from .hausdorff_cost import HausdorffCost
from .midpoint_offset_coder import MidpointOffsetCoder
from .oriented_point_coder import OrientedPointCoder
from .periodic_box_l1_cost import PeriodicBoxL1Cost
from .point_assignment import PointAssignment
from .rotated_iou_cost import RotatedIoUCost
from .rotated_overlaps import RBboxOverlaps2D
from .rotated_tal_assigner import RotatedTaskAlignedAssigner
from .union_matches import union_matches

__all__ = [
    'ACMCoder',
    'AngleCoder',
    'BatchHungarianAssigner',
    'CSLCoder',
    'ChamferCost',
    'ChunkedMaxIoUAssigner',
    'DFLAngleCoder',
    'DeltaXYWHTHBBoxCoder',
    'DeltaXYWHTRBBoxCoder',
    'DistanceAnglePointCoder',
    'FrameTargets',
    'GaussianCost',
    'HausdorffCost',
    'Match',
    'MidpointOffsetCoder',
    'OrientedPointCoder',
    'PSCCoder',
    'PeriodicBoxL1Cost',
    'PointAssignment',
    'PseudoAngleCoder',
    'RBboxOverlaps2D',
    'RotatedDynamicSoftLabelAssigner',
    'RotatedIoUCost',
    'RotatedTaskAlignedAssigner',
    'adaptive_denoising',
    'as_rboxes',
    'frame_targets',
    'solve_assignments',
    'union_matches',
]

"""Coders, overlaps and assigners of the heads."""

from .chunked_max_iou_assigner import ChunkedMaxIoUAssigner
from .delta_xywht_coder import DeltaXYWHTRBBoxCoder
from .delta_xywht_hbbox_coder import DeltaXYWHTHBBoxCoder
from .frame_targets import FrameTargets, as_rboxes, frame_targets
from .midpoint_offset_coder import MidpointOffsetCoder
from .oriented_point_coder import OrientedPointCoder
from .rotated_overlaps import RBboxOverlaps2D
from .rotated_tal_assigner import PointAssignment, RotatedTaskAlignedAssigner

__all__ = [
    'ChunkedMaxIoUAssigner',
    'DeltaXYWHTHBBoxCoder',
    'DeltaXYWHTRBBoxCoder',
    'FrameTargets',
    'MidpointOffsetCoder',
    'OrientedPointCoder',
    'PointAssignment',
    'RBboxOverlaps2D',
    'RotatedTaskAlignedAssigner',
    'as_rboxes',
    'frame_targets',
]

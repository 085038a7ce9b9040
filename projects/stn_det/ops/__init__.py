"""Operators of oriented detection in plain PyTorch; importing this package needs torch and numpy only."""

from stn_det.ops.box_iou_rotated import box_iou_rotated
from stn_det.ops.nms_rotated import nms_rotated

__all__ = ['box_iou_rotated', 'nms_rotated']

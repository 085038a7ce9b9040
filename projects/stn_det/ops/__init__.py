"""Operators of oriented detection, compiled or in plain PyTorch; importing this package needs torch and numpy only."""

from stn_det.ops._status import status
from stn_det.ops.box_iou_quadri import box_iou_quadri
from stn_det.ops.box_iou_rotated import box_iou_rotated
from stn_det.ops.convex_giou import convex_giou
from stn_det.ops.deform_conv2d import deform_conv2d
from stn_det.ops.deform_conv_v3 import deform_conv_v3
from stn_det.ops.deform_conv_v4 import deform_conv_v4
from stn_det.ops.ms_deform_attn import ms_deform_attn
from stn_det.ops.ms_deform_attn_fused import ms_deform_attn_fused
from stn_det.ops.nms import nms
from stn_det.ops.nms_match import nms_match
from stn_det.ops.nms_quadri import nms_quadri
from stn_det.ops.nms_rotated import nms_rotated
from stn_det.ops.nms_rotated_mask import nms_rotated_mask
from stn_det.ops.quadri_iou import quadri_iou
from stn_det.ops.remap import remap
from stn_det.ops.roi_align import roi_align
from stn_det.ops.roi_align_rotated import roi_align_rotated
from stn_det.ops.rotated_iou_giou import rotated_iou_giou
from stn_det.ops.sigmoid_focal_loss import sigmoid_focal_loss
from stn_det.ops.soft_nms import soft_nms
from stn_det.ops.warp_sample import warp_sample

__all__ = [
    'box_iou_quadri',
    'box_iou_rotated',
    'convex_giou',
    'deform_conv2d',
    'deform_conv_v3',
    'deform_conv_v4',
    'ms_deform_attn',
    'ms_deform_attn_fused',
    'nms',
    'nms_match',
    'nms_quadri',
    'nms_rotated',
    'nms_rotated_mask',
    'quadri_iou',
    'remap',
    'roi_align',
    'roi_align_rotated',
    'rotated_iou_giou',
    'sigmoid_focal_loss',
    'soft_nms',
    'status',
    'warp_sample',
]

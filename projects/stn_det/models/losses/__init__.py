"""Losses on oriented boxes and on their angles."""

from .box_losses import GaussianBoxLoss, OrientedIoULoss
from .chamfer import ChamferLoss, chamfer_loss, rotated_chamfer
from .convex_giou_loss import ConvexGIoULoss, convex_giou_loss
from .gaussian import bcd_distance, gwd_distance, jd_distance, kld_distance, probiou_distance
from .hausdorff import HausdorffLoss, hausdorff_loss, rotated_hausdorff
from .kf_loss import KFLoss, kf_loss, kfiou
from .periodic_l1_loss import PeriodicL1Loss, periodic_difference, periodic_l1
from .smooth_focal_loss import SmoothFocalLoss, smooth_focal_loss
from .weighted import WeightedLoss

__all__ = [
    'ChamferLoss',
    'ConvexGIoULoss',
    'GaussianBoxLoss',
    'HausdorffLoss',
    'KFLoss',
    'OrientedIoULoss',
    'PeriodicL1Loss',
    'SmoothFocalLoss',
    'WeightedLoss',
    'bcd_distance',
    'chamfer_loss',
    'convex_giou_loss',
    'gwd_distance',
    'hausdorff_loss',
    'jd_distance',
    'kf_loss',
    'kfiou',
    'kld_distance',
    'periodic_difference',
    'periodic_l1',
    'probiou_distance',
    'rotated_chamfer',
    'rotated_hausdorff',
    'smooth_focal_loss',
]

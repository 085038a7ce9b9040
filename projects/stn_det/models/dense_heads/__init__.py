"""Dense heads that predict or propose oriented boxes."""

from .oriented_point_head import OrientedPointHead
from .oriented_rpn_head import OrientedRPNHead
from .rotated_rpn_head import RotatedRPNHead

__all__ = ['OrientedPointHead', 'OrientedRPNHead', 'RotatedRPNHead']

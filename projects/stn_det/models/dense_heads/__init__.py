"""Dense heads that predict oriented boxes."""

from .oriented_align_head import OrientedAlignHead
from .oriented_dense_head import OrientedDenseHead
from .oriented_point_head import OrientedPointHead
from .oriented_rpn_head import OrientedRPNHead
from .rotated_deformable_detr_head import RotatedDeformableDETRHead
from .rotated_dino_head import RotatedDINOHead
from .rotated_rpn_head import RotatedRPNHead
from .rotated_rtmdet_head import RotatedRTMDetSepBNHead
from .s2a_head import S2AHead

__all__ = [
    'OrientedAlignHead',
    'OrientedDenseHead',
    'OrientedPointHead',
    'OrientedRPNHead',
    'RotatedDINOHead',
    'RotatedDeformableDETRHead',
    'RotatedRPNHead',
    'RotatedRTMDetSepBNHead',
    'S2AHead',
]

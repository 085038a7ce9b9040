"""Dense heads that predict oriented boxes."""

from .oriented_align_head import OrientedAlignHead
from .oriented_point_head import OrientedPointHead
from .s2a_head import S2AHead

__all__ = ['OrientedAlignHead', 'OrientedPointHead', 'S2AHead']

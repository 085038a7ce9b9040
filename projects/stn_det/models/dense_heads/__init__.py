"""Dense heads that predict oriented boxes."""

from .oriented_align_head import OrientedAlignHead
from .oriented_point_head import OrientedPointHead

__all__ = ['OrientedAlignHead', 'OrientedPointHead']

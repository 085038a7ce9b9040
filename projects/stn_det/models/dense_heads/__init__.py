"""Dense heads that predict oriented boxes."""

from .oriented_point_head import OrientedPointHead

__all__ = ['OrientedPointHead']

"""What is predicted of a region of interest."""

from .rotated_shared_2fc_bbox_head import RotatedShared2FCBBoxHead

__all__ = ['RotatedShared2FCBBoxHead']

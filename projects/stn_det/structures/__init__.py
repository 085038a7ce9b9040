"""Rotated and quadrilateral boxes for mmdet's box registry; importing this registers them and their converters.

Where mmcv has no compiled operators, import ``stn_det.mmcv_bridge`` first: mmdet's own box module needs them.
"""

from .converters import CONVERTERS
from .oriented_boxes import OrientedBoxes
from .quadri_boxes import QuadriBoxes
from .rotated_boxes import RotatedBoxes

__all__ = ['CONVERTERS', 'OrientedBoxes', 'QuadriBoxes', 'RotatedBoxes']

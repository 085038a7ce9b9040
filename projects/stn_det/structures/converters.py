"""Registers the conversions between horizontal, rotated and quadrilateral boxes with mmdet."""

from mmdet.structures.bbox import HorizontalBoxes, register_box_converter

from stn_det.geometry import hbox_to_qbox, hbox_to_rbox, qbox_to_hbox, qbox_to_rbox, rbox_to_hbox, rbox_to_qbox

from .quadri_boxes import QuadriBoxes
from .rotated_boxes import RotatedBoxes

CONVERTERS = {
    (HorizontalBoxes, RotatedBoxes): hbox_to_rbox,
    (HorizontalBoxes, QuadriBoxes): hbox_to_qbox,
    (RotatedBoxes, HorizontalBoxes): rbox_to_hbox,
    (RotatedBoxes, QuadriBoxes): rbox_to_qbox,
    (QuadriBoxes, HorizontalBoxes): qbox_to_hbox,
    (QuadriBoxes, RotatedBoxes): qbox_to_rbox,
}

for (source, destination), converter in CONVERTERS.items():
    # Forced, so that a second import replaces the first: registration.py made sure that the box types are our own.
    register_box_converter(source, destination, converter, force=True)

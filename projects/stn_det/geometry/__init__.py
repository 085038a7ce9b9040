"""Angles, box forms, conversions, matrices and Gaussians of oriented boxes; conventions in ``docs/conventions.md``."""

from .angles import FORMS, canonicalize_rboxes, normalize_angle
from .area import qbox_area, rbox_area
from .containment import points_in_qboxes, points_in_rboxes, qboxes_contain, rboxes_contain
from .conversions import hbox_to_qbox, hbox_to_rbox, qbox_to_hbox, qbox_to_rbox, rbox_to_hbox, rbox_to_qbox
from .gaussian import gaussian_to_rbox, rbox_to_gaussian
from .matrices import opencv_matrix, rotation_matrix, scaling, translation
from .transforms import (
    transform_gaussians,
    transform_hboxes,
    transform_points,
    transform_qboxes,
    transform_rboxes,
)

__all__ = [
    'FORMS',
    'canonicalize_rboxes',
    'gaussian_to_rbox',
    'hbox_to_qbox',
    'hbox_to_rbox',
    'normalize_angle',
    'opencv_matrix',
    'points_in_qboxes',
    'points_in_rboxes',
    'qbox_area',
    'qbox_to_hbox',
    'qbox_to_rbox',
    'qboxes_contain',
    'rbox_area',
    'rbox_to_gaussian',
    'rbox_to_hbox',
    'rbox_to_qbox',
    'rboxes_contain',
    'rotation_matrix',
    'scaling',
    'transform_gaussians',
    'transform_hboxes',
    'transform_points',
    'transform_qboxes',
    'transform_rboxes',
    'translation',
]

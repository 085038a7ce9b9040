"""Parsing of annotation files and image headers: pure functions without mmdet."""

from .classes import class_index
from .dior import parse_dior
from .dota import DotaObject, parse_dota_header, parse_dota_lines
from .hrsc import parse_hrsc
from .image_files import image_size, index_images, is_plain, truncation_problem
from .labelled_quad import LabelledQuad
from .rotated_coco import CocoImage, CocoObject, load_rotated_coco, parse_rotated_coco

__all__ = [
    'CocoImage',
    'CocoObject',
    'DotaObject',
    'LabelledQuad',
    'class_index',
    'image_size',
    'index_images',
    'is_plain',
    'load_rotated_coco',
    'parse_dior',
    'parse_dota_header',
    'parse_dota_lines',
    'parse_hrsc',
    'parse_rotated_coco',
    'truncation_problem',
]

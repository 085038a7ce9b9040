"""Parts that necks and heads share."""

from . import conv_layers
from .align_conv import AlignConv
from .local_frames import LocalFrames, box_offsets, decode_frames, frame_offsets
from .oriented_response import ORConv2d, orientation_pool

__all__ = [
    'AlignConv',
    'LocalFrames',
    'ORConv2d',
    'box_offsets',
    'conv_layers',
    'decode_frames',
    'frame_offsets',
    'orientation_pool',
]

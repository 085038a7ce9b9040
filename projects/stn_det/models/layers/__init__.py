"""Parts that necks and heads share."""

from . import conv_layers
from .align_conv import AlignConv
from .hybrid_encoder import CSPRepLayer, HybridEncoder
from .local_frames import LocalFrames, box_offsets, decode_frames, frame_offsets
from .oriented_response import ORConv2d, orientation_pool
from .rep_vgg_block import RepVGGBlock

__all__ = [
    'AlignConv',
    'CSPRepLayer',
    'HybridEncoder',
    'LocalFrames',
    'ORConv2d',
    'RepVGGBlock',
    'box_offsets',
    'conv_layers',
    'decode_frames',
    'frame_offsets',
    'orientation_pool',
]

"""Parts that necks and heads share."""

from . import conv_layers
from .align_conv import AlignConv
from .box_state import BoxState
from .contrastive_denoising import ContrastiveDenoising
from .deformable_encoder import RotatedDeformableEncoder
from .hybrid_encoder import CSPRepLayer, HybridEncoder
from .local_frames import LocalFrames, box_offsets, decode_frames, frame_offsets
from .oriented_response import ORConv2d, orientation_pool
from .rep_vgg_block import RepVGGBlock
from .rotated_decoder import RotatedDeformableDecoder, RotatedDinoDecoder
from .rotated_deformable_attention import RotatedDeformableAttention, Sampling, record_sampling

__all__ = [
    'AlignConv',
    'BoxState',
    'CSPRepLayer',
    'ContrastiveDenoising',
    'HybridEncoder',
    'LocalFrames',
    'ORConv2d',
    'RepVGGBlock',
    'RotatedDeformableAttention',
    'RotatedDeformableDecoder',
    'RotatedDeformableEncoder',
    'RotatedDinoDecoder',
    'Sampling',
    'box_offsets',
    'conv_layers',
    'decode_frames',
    'frame_offsets',
    'orientation_pool',
    'record_sampling',
]

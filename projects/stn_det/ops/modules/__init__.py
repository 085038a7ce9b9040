"""Operators as layers with parameters; they need torch only."""

from stn_det.ops.modules._deform_layer import rename_offset_keys
from stn_det.ops.modules.deform_conv import DeformConv2d, DeformConv2dPack
from stn_det.ops.modules.deform_conv_v4 import DeformConv2dV4Pack
from stn_det.ops.modules.modulated_deform_conv import ModulatedDeformConv2d, ModulatedDeformConv2dPack

__all__ = [
    'DeformConv2d',
    'DeformConv2dPack',
    'DeformConv2dV4Pack',
    'ModulatedDeformConv2d',
    'ModulatedDeformConv2dPack',
    'rename_offset_keys',
]

"""Convolutions under the names that ``conv_cfg`` and ``dcn`` of mmdet's modules ask for.

mmcv registers 'DCN' and 'DCNv2' itself; its ``build_conv_layer`` looks in mmengine's registry, where 'DCNv4' stands
beside them: ``conv_cfg=dict(type='DCNv4')`` in a head, ``dcn=dict(type='DCNv4', deform_groups=4)`` in a ResNet.
"""

from mmengine.registry import MODELS

from ...ops.modules import DeformConv2dV4Pack

MODELS.register_module('DCNv4', module=DeformConv2dV4Pack)

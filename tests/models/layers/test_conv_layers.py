"""DCNv4 under its name: in mmcv's builders, in a backbone, under initialisation from outside."""

import pytest
import torch
from mmcv.cnn import ConvModule, build_conv_layer
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn

from stn_det.ops.modules import DeformConv2dV4Pack


def offsets_are_zero(layer: DeformConv2dV4Pack) -> bool:
    """Whether the layer looks at the regular grid, whatever the input."""
    packed = layer.offset_mask.bias[: 3 * layer.deform_groups * layer.points].view(layer.deform_groups, 3, -1)
    return not layer.offset_mask.weight.any() and not packed[:, :2].any()


def test_mmcv_builds_it_as_it_builds_a_convolution() -> None:
    call = dict(stride=2, padding=2, dilation=2, groups=2, bias=False)
    ours = build_conv_layer(dict(type='DCNv4', deform_groups=2), 8, 12, 3, **call)
    plain = build_conv_layer(None, 8, 12, 3, **call)
    assert isinstance(ours, DeformConv2dV4Pack)
    assert ours.output_proj.bias is None
    x = torch.randn(1, 8, 9, 11)
    assert ours(x).shape == plain(x).shape


@pytest.mark.parametrize('norm_cfg', [None, dict(type='GN', num_groups=2)])
def test_conv_module_takes_it(norm_cfg: dict | None) -> None:
    module = ConvModule(8, 8, 3, padding=1, conv_cfg=dict(type='DCNv4'), norm_cfg=norm_cfg)
    module.init_weights()
    assert (module.conv.output_proj.bias is None) == (norm_cfg is not None)
    assert offsets_are_zero(module.conv)
    assert module(torch.randn(1, 8, 5, 5)).shape == (1, 8, 5, 5)


@pytest.mark.parametrize('dcn', [dict(type='DCNv4', deform_groups=2), dict(type='DCNv2', deform_groups=1)])
def test_resnet_takes_it_in_its_later_stages(dcn: dict) -> None:
    config = dict(type='ResNet', depth=50, base_channels=8, stem_channels=8, stage_with_dcn=(False, True, True, True))
    backbone = MODELS.build({**config, 'dcn': ConfigDict(fallback_on_stride=False, **dcn)})
    backbone.init_weights()
    x = torch.randn(1, 3, 64, 64)
    assert [tuple(level.shape) for level in backbone(x)] == [
        (1, 32, 16, 16),
        (1, 64, 8, 8),
        (1, 128, 4, 4),
        (1, 256, 2, 2),
    ]
    assert type(backbone.layer1[0].conv2) is nn.Conv2d
    if dcn['type'] == 'DCNv4':
        layers = [module for module in backbone.modules() if isinstance(module, DeformConv2dV4Pack)]
        assert len(layers) == 4 + 6 + 3
        assert all(offsets_are_zero(layer) for layer in layers)
    sum(level.mean() for level in backbone(x)).backward()


def test_initialisation_from_outside_leaves_the_offsets() -> None:
    neck = MODELS.build(
        dict(
            type='ChannelMapper',
            in_channels=[8],
            out_channels=8,
            kernel_size=3,
            conv_cfg=dict(type='DCNv4'),
            init_cfg=dict(type='Normal', layer='Conv2d', std=1.0),
        )
    )
    neck.init_weights()
    conv = neck.convs[0].conv
    assert conv.value_proj.weight.std() > 0.5
    assert offsets_are_zero(conv)

"""Layers of deformable convolution."""

import doctest
import pickle

import pytest
import torch
import torch.nn.functional as F

from stn_det.errors import InputError
from stn_det.ops import deform_conv2d
from stn_det.ops.modules import (
    DeformConv2d,
    DeformConv2dPack,
    ModulatedDeformConv2d,
    ModulatedDeformConv2dPack,
    deform_conv,
    modulated_deform_conv,
    rename_offset_keys,
)

LAYER = dict(stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2, deform_groups=4)
GEOMETRY = dict(stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2, offset_groups=4)


@pytest.mark.parametrize(
    ('kind', 'factor', 'bias'),
    [(DeformConv2dPack, 1.0, False), (ModulatedDeformConv2dPack, 0.5, False), (ModulatedDeformConv2dPack, 0.5, True)],
)
def test_starts_as_a_convolution(kind, factor, bias) -> None:
    layer = kind(8, 6, (3, 2), bias=bias, **LAYER)
    assert (layer.bias is None) == (not bias)
    x = torch.randn(2, 8, 9, 10)
    options = dict(stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)
    torch.testing.assert_close(layer(x), factor * F.conv2d(x, layer.weight, **options), atol=1e-5, rtol=1e-5)


def test_version_1_adds_its_offsets() -> None:
    layer, x = DeformConv2d(8, 6, (3, 2), **LAYER), torch.randn(2, 8, 9, 10)
    offset = torch.randn(2, 48, 5, 8)
    assert torch.equal(layer(x, offset), deform_conv2d(x, offset, layer.weight, **GEOMETRY))


def test_version_2_adds_its_offsets_and_mask() -> None:
    layer, x = ModulatedDeformConv2d(8, 6, (3, 2), **LAYER), torch.randn(2, 8, 9, 10)
    torch.nn.init.normal_(layer.bias)
    offset, mask = torch.randn(2, 48, 5, 8), torch.rand(2, 24, 5, 8)
    expected = deform_conv2d(x, offset, layer.weight, layer.bias, mask=mask, **GEOMETRY)
    assert torch.equal(layer(x, offset, mask), expected)


def test_offsets_come_before_the_mask() -> None:
    layer, x = ModulatedDeformConv2dPack(4, 6, 3, padding=1, deform_groups=2), torch.randn(2, 4, 7, 8)
    torch.nn.init.normal_(layer.conv_offset.weight, std=0.2)
    torch.nn.init.normal_(layer.conv_offset.bias)
    first, second, mask = layer.conv_offset(x).chunk(3, 1)
    offset = torch.cat([first, second], 1)
    expected = deform_conv2d(x, offset, layer.weight, layer.bias, 1, 1, 1, mask.sigmoid(), offset_groups=2)
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize('kind', [DeformConv2dPack, ModulatedDeformConv2dPack])
def test_everything_learns(kind) -> None:
    layer = kind(4, 6, 3, padding=1)
    layer(torch.randn(1, 4, 7, 8)).square().sum().backward()
    assert all(parameter.grad.any() for parameter in layer.parameters())


@pytest.mark.parametrize('kind', [DeformConv2dPack, ModulatedDeformConv2dPack])
def test_checkpoints_before_version_2_load(kind) -> None:
    source, target = (torch.nn.Sequential(torch.nn.Identity(), kind(4, 6, 3)) for _ in range(2))
    torch.nn.init.normal_(source[1].conv_offset.weight)
    torch.nn.init.normal_(source[1].conv_offset.bias)
    old = {key.replace('1.conv_offset', '1_offset'): value for key, value in source.state_dict().items()}
    assert '1_offset.weight' in old
    target.load_state_dict(rename_offset_keys(target, old))
    for one, other in zip(target.parameters(), source.parameters(), strict=True):
        assert torch.equal(one, other)


def test_new_checkpoints_are_not_renamed() -> None:
    """A neighbour that happens to be called <layer>_offset keeps its parameters."""
    model = torch.nn.ModuleDict({'a': DeformConv2dPack(4, 4, 3), 'a_offset': torch.nn.Conv2d(4, 18, 3)})
    state = model.state_dict()
    assert list(rename_offset_keys(model, state)) == list(state)
    del state['a.conv_offset.weight']
    assert list(rename_offset_keys(model, state)) == list(state)


def test_names_kinds_and_pickling() -> None:
    assert [name for name, _ in DeformConv2d(4, 4, 3).named_parameters()] == ['weight']
    assert [name for name, _ in ModulatedDeformConv2d(4, 4, 3).named_parameters()] == ['weight', 'bias']
    layer = ModulatedDeformConv2dPack(4, 4, 3, deform_groups=2)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        'weight': (4, 4, 3, 3),
        'bias': (4,),
        'conv_offset.weight': (54, 4, 3, 3),
        'conv_offset.bias': (54,),
    }
    assert 'deform_groups=2, bias=True' in repr(layer)
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(groups=3), 'groups is 3, expected a positive divisor of the channels, here 4 in and 6 out'),
        (dict(groups=4), 'groups is 4, expected'),
        (dict(deform_groups=3), 'deform_groups is 3, expected'),
        (dict(stride='1'), "stride is '1', expected an int or a pair"),
    ],
)
def test_errors(options, message) -> None:
    with pytest.raises(InputError, match=message):
        DeformConv2dPack(4, 6, 3, **options)


@pytest.mark.parametrize('module', [deform_conv, modulated_deform_conv])
def test_examples(module) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0

"""The global neck: identity at the start, features and points by one warp, tight limits."""

import copy
import doctest
import sys

import pytest
import torch
from mmdet.registry import MODELS
from torch import Tensor

from stn_det.errors import ConfigError, InputError
from stn_det.models import STNGlobalNeck
from stn_det.models.necks.stn_global_neck import NECK_FAMILIES

STRIDES = (8, 16)


def build(**kwargs) -> STNGlobalNeck:
    """A small neck with weights set."""
    config = dict(type='STNGlobalNeck', in_channels=8, strides=STRIDES, hidden_channels=8)
    neck = MODELS.build({**config, **kwargs})
    neck.init_weights()
    return neck


def levels(size: tuple[int, int] = (72, 120), batch: int = 2) -> tuple[Tensor, ...]:
    """Random maps of both levels, of odd sizes by default."""
    return tuple(torch.randn(batch, 8, -(-size[0] // s), -(-size[1] // s)) for s in STRIDES)


@pytest.mark.parametrize('family', NECK_FAMILIES)
def test_untrained_neck_is_the_identity_bit_for_bit(family: str) -> None:
    neck = build(family=family, init_cfg=dict(type='Normal', layer=['Conv2d', 'Linear'], std=1.0))
    x = tuple(level.transpose(2, 3) for level in levels())
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            results = neck([level.to(dtype) for level in x])
        for level, result in zip(x, results):
            assert result.dtype == dtype
            assert torch.equal(result, level.to(dtype))
    assert torch.equal(neck.warp.dst_from_src, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))


def test_features_go_where_the_warp_sends_points() -> None:
    neck = build(family='similarity', limits=dict(shift=0.5, rotation=0.5))
    with torch.no_grad():
        neck.parameters_of.bias.copy_(torch.tensor([0.3, 0.05, 0.2, -0.1]))
    y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(56) + 0.5, indexing='ij')
    blob = torch.exp(-((x * 8 - 250) ** 2 + (y * 8 - 170) ** 2) / (2 * 20.0**2)).expand(1, 8, 40, 56)
    moved = neck((blob, torch.zeros(1, 8, 20, 28)))[0][0, 0]
    centroid = torch.stack([(moved * x).sum(), (moved * y).sum()]) / moved.sum() * 8
    expected = neck.warp.transform_points(torch.tensor([[[250.0, 170.0]]]))[0, 0]
    assert (expected - torch.tensor([250.0, 170.0])).norm() > 20
    assert (centroid - expected).norm() < 0.3


def test_limits_are_tight_by_default() -> None:
    neck = build()
    torch.nn.init.constant_(neck.parameters_of.bias, 1e3)
    neck(levels((64, 64)))
    assert neck.warp.dst_from_src[0, :2, 2].tolist() == pytest.approx([3.2, 3.2])  # a twentieth of 64


def test_losses_on_the_features_train_the_warp() -> None:
    neck = build()
    (neck(levels())[0] * torch.arange(15)).sum().backward()
    assert neck.parameters_of.bias.grad.abs().sum() > 0


def test_it_is_copied_after_a_forward_pass() -> None:
    neck = build()
    neck(levels())
    assert copy.deepcopy(neck).warp is None
    assert neck.warp is not None


def test_bad_settings_and_levels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"family is 'homography'; expected one of \('translation'"):
        build(family='homography')
    with pytest.raises(InputError, match="padding_mode is 'mirror', expected one of"):
        build(padding_mode='mirror')
    with pytest.raises(InputError, match=r'got 1 levels of shapes .* expected one level a stride'):
        build()(levels()[:1])
    with pytest.raises(InputError, match=r'level of stride 16 has \(4, 8\) cells, expected \(5, 8\)'):
        build()((levels()[0], levels()[1][:, :, 1:]))


def test_the_example_holds() -> None:
    results = doctest.testmod(sys.modules['stn_det.models.necks.stn_global_neck'])
    assert results.attempted > 0
    assert results.failed == 0

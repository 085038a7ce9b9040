"""The aligned pyramid: mmdet's FPN at the start, bounded offsets in the right direction afterwards."""

import doctest
import sys

import pytest
import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from stn_det.errors import ConfigError, InputError
from stn_det.models import AlignedFPN
from stn_det.models.necks.aligned_fpn import FlowAlign

CHANNELS = [6, 8, 10, 12]


def inputs(transposed: bool = False) -> list[Tensor]:
    """Levels of a backbone, of odd sizes."""
    levels = [torch.randn(2, c, s, t) for c, s, t in zip(CHANNELS, (25, 13, 7, 4), (37, 19, 10, 5))]
    return [level.transpose(2, 3) for level in levels] if transposed else levels


def pair(**kwargs) -> tuple[nn.Module, AlignedFPN]:
    """mmdet's pyramid, and the aligned one with its weights."""
    config = {**dict(in_channels=CHANNELS, out_channels=8, num_outs=4), **kwargs}
    plain, aligned = MODELS.build(dict(type='FPN', **config)), MODELS.build(dict(type='AlignedFPN', **config))
    plain.init_weights()
    aligned.init_weights()
    found = aligned.load_state_dict(plain.state_dict(), strict=False)
    assert not found.unexpected_keys
    assert all(key.startswith('aligns.') for key in found.missing_keys)
    return plain, aligned


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(),
        dict(num_outs=6),
        dict(num_outs=5, start_level=1, add_extra_convs='on_input'),
        dict(num_outs=6, add_extra_convs='on_lateral', relu_before_extra_convs=True),
        dict(
            num_outs=6, add_extra_convs='on_output', norm_cfg=dict(type='GN', num_groups=2), act_cfg=dict(type='ReLU')
        ),
        dict(num_outs=2, start_level=1, end_level=2),
        dict(upsample_cfg=dict(mode='bilinear', align_corners=False)),
    ],
)
def test_untrained_pyramid_is_mmdets_bit_for_bit(kwargs: dict) -> None:
    plain, aligned = pair(**kwargs)
    for transposed in (False, True):
        levels = inputs(transposed)
        expected, found = plain(levels), aligned(levels)
        assert len(expected) == len(found)
        assert all(torch.equal(a, b) for a, b in zip(expected, found))


def test_enlarging_by_a_factor() -> None:
    plain, aligned = pair(in_channels=[6, 8], num_outs=2, upsample_cfg=dict(mode='nearest', scale_factor=2))
    levels = [torch.randn(1, 6, 8, 12), torch.randn(1, 8, 4, 6)]
    assert all(torch.equal(a, b) for a, b in zip(plain(levels), aligned(levels)))


def test_identity_under_autocast() -> None:
    plain, aligned = pair()
    levels = inputs()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(plain(levels), aligned(levels)))


def test_offsets_read_the_coarse_level_beside_its_place_and_are_bounded() -> None:
    align = FlowAlign(4, 8, max_offset=1.5)
    coarse = torch.randn(1, 4, 6, 8)
    nn.init.constant_(align.flow.bias[1:], 100.0)  # y: a cell and a half down
    moved = align(torch.randn(1, 4, 6, 8), coarse)
    assert torch.allclose(moved[:, :, :4], 0.5 * coarse[:, :, 1:5] + 0.5 * coarse[:, :, 2:], atol=1e-5)
    assert torch.allclose(moved[:, :, 5], coarse[:, :, 5], atol=1e-5)  # the border goes on


def test_offsets_learn_a_shift_between_levels() -> None:
    """The coarse level lags a cell behind; the offsets, which see both, close the gap."""
    align = FlowAlign(4, 8, max_offset=2.0)
    fine = nn.functional.interpolate(torch.randn(1, 4, 6, 8), size=(24, 32), mode='bicubic', align_corners=False)
    coarse = fine.roll(1, 3)
    optimizer = torch.optim.Adam(align.parameters(), lr=0.02)
    errors = []
    for _ in range(60):
        error = (align(fine, coarse) - fine)[..., 2:-2].square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.2 * errors[0]


def test_gradients_reach_all_parts() -> None:
    aligned = pair()[1]
    for align in aligned.aligns:
        nn.init.normal_(align.flow.weight, std=0.1)
    sum(level.square().sum() for level in aligned(inputs())).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in aligned.parameters())


def test_bad_settings_and_inputs_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_offset is 0; expected cells above 0, or mmdet's FPN"):
        AlignedFPN(CHANNELS, 8, 4, max_offset=0)
    with pytest.raises(InputError, match=r'got 3 levels and has in_channels \[6, 8, 10, 12\]; expected one level each'):
        pair()[1](inputs()[:3])


def test_the_example_holds() -> None:
    results = doctest.testmod(sys.modules['stn_det.models.necks.aligned_fpn'])
    assert results.attempted > 0
    assert results.failed == 0

"""The large-kernel block: how far it sees, what it selects, and that it begins as nothing."""

import pytest
import torch
from mmdet.models.backbones import CSPNeXt

from stn_det.errors import ConfigError
from stn_det.models import LargeKernelCSPNeXt
from stn_det.models.backbones import LargeKernelSelection

SMALL = dict(widen_factor=0.125, deepen_factor=0.167)


def test_begins_as_the_backbone_without() -> None:
    plain, large = CSPNeXt(**SMALL), LargeKernelCSPNeXt(**SMALL)
    for backbone in (plain, large):
        backbone.eval()  # gives nothing back
    loaded = large.load_state_dict(plain.state_dict(), strict=False)
    assert not loaded.unexpected_keys
    assert all('.large_kernel.' in key for key in loaded.missing_keys)
    image = torch.rand(1, 3, 96, 64)
    for one, two in zip(plain(image), large(image), strict=True):
        assert torch.equal(one, two)


def test_only_the_stages_that_are_asked_for_get_a_block() -> None:
    backbone = LargeKernelCSPNeXt(large_kernel_stages=(1, 3), **SMALL)
    assert {name.split('.')[0] for name, _ in backbone.named_parameters() if 'large_kernel' in name} == {
        'stage1',
        'stage3',
    }


def test_the_scale_learns_from_the_first_step_and_the_rest_from_the_second() -> None:
    torch.manual_seed(0)
    block, x = LargeKernelSelection(8), torch.randn(1, 8, 12, 12)
    block(x).square().sum().backward()
    assert block.scale.grad.abs().min() > 0
    assert all(not p.grad.any() for name, p in block.named_parameters() if name != 'scale')
    torch.nn.init.ones_(block.scale)
    block(x).square().sum().backward()
    assert all(p.grad.any() for p in block.parameters())


def test_sees_29_places_across() -> None:
    # 5 + 6 * 3 = 23 through both depthwise convolutions, and 3 to each side more through the masks
    torch.manual_seed(0)
    block = LargeKernelSelection(4).double()
    torch.nn.init.ones_(block.scale)
    x = torch.randn(1, 4, 41, 41, dtype=torch.float64, requires_grad=True)
    block(x)[0, :, 20, 20].sum().backward()
    seen = x.grad[0].abs().sum(0) > 0
    for axis in (0, 1):
        places = seen.any(axis).nonzero().flatten()
        assert (places.min().item(), places.max().item()) == (6, 34)


def test_a_mask_shuts_a_surrounding_out() -> None:
    torch.manual_seed(0)
    block = LargeKernelSelection(4)
    torch.nn.init.ones_(block.scale)
    torch.nn.init.zeros_(block.masks.weight)
    with torch.no_grad():
        block.masks.bias.copy_(torch.tensor([100.0, -100.0]))  # near is all, far nothing
    x = torch.randn(1, 4, 15, 15)
    hidden = block.project(x)
    expected = x + block.out(hidden * block.expand(block.squeeze_near(block.near(hidden))))
    torch.testing.assert_close(block(x), expected)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'large_kernel_stages holds \[0, 5\]; expected numbers from 1 to 4'):
        LargeKernelCSPNeXt(large_kernel_stages=(0, 2, 5), **SMALL)
    with pytest.raises(ConfigError, match='channels is 7; expected an even number'):
        LargeKernelSelection(7)

"""Our layers of deformable convolution against mmcv's, which call our operators through the bridge."""

import mmcv.ops
import pytest
import torch

from stn_det.ops import modules

KINDS = ['DeformConv2d', 'DeformConv2dPack', 'ModulatedDeformConv2d', 'ModulatedDeformConv2dPack']


@pytest.mark.parametrize('kind', KINDS)
def test_parameters_and_results_are_those_of_mmcv(kind: str) -> None:
    options = dict(kernel_size=3, stride=2, padding=1, dilation=1, groups=2, deform_groups=2)
    theirs = getattr(mmcv.ops, kind)(8, 6, **options)
    ours = getattr(modules, kind)(8, 6, **options)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 8, 9, 10, requires_grad=True)
    offset, mask = torch.randn(2, 36, 5, 5), torch.rand(2, 18, 5, 5)
    arguments = () if kind.endswith('Pack') else (offset, mask) if kind.startswith('Modulated') else (offset,)
    results = ours(x, *arguments), theirs(x, *arguments)
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)
    seed = torch.randn_like(results[0])
    grads = [
        torch.autograd.grad(result, [x, *layer.parameters()], seed) for result, layer in zip(results, (ours, theirs))
    ]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_training_starts_alike(kind: str) -> None:
    ours, theirs = (getattr(room, kind)(8, 6, 3) for room in (modules, mmcv.ops))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert one.shape == other.shape
        # Both uniform around 0: 432 or more draws come within 5 % of the bound.
        torch.testing.assert_close(one.abs().max(), other.abs().max(), rtol=0.05, atol=0)

"""Fusion starts as the identity on the first sensor, and learns."""

import pytest
import torch
from mmdet.registry import MODELS

from stn_det.errors import ConfigError, InputError
from stn_det.models import AddFusion, ConcatFusion

CHANNELS = (6, 10)


def levels(channels=CHANNELS, batch=2, side=8):
    return tuple(torch.randn(batch, c, side >> i, side >> i) for i, c in enumerate(channels))


@pytest.mark.parametrize('kind', [ConcatFusion, AddFusion])
def test_it_starts_as_the_identity(kind):
    first, second = levels(), levels()
    fusion = MODELS.build(dict(type=kind.__name__, in_channels=CHANNELS))
    fusion.init_weights()
    assert all(torch.equal(a, b) for a, b in zip(fusion(first, second), first))


@pytest.mark.parametrize('kind', [ConcatFusion, AddFusion])
def test_the_second_sensor_gets_in_by_training(kind):
    first, second = levels(), [level.requires_grad_() for level in levels()]
    fusion = kind(CHANNELS)
    optimiser = torch.optim.SGD(fusion.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        loss = sum((level - 1).square().mean() for level in fusion(first, second))
        loss.backward()
        assert all(parameter.grad.abs().max() > 0 for parameter in fusion.parameters())
        optimiser.step()
    assert all(level.grad.abs().max() > 0 for level in second), 'after the first step its backbone learns, too'


def test_known_values():
    first, second = [torch.full((1, 2, 1, 1), 3.0)], [torch.full((1, 1, 1, 1), 5.0)]
    concat = ConcatFusion([2], [1])
    concat.convs[0].weight.data.copy_(torch.tensor([[1.0, 10, 100], [0, 0, 1]]).view(2, 3, 1, 1))
    assert concat(first, second)[0].flatten().tolist() == [3 + 3 + 30 + 500, 3 + 5]
    add = AddFusion([2])
    add.gates[0].data.copy_(torch.tensor([2.0, -1]).view(2, 1, 1))
    assert add(first, [torch.tensor([5.0, 7]).view(1, 2, 1, 1)])[0].flatten().tolist() == [13, -4]


@pytest.mark.parametrize('kind', [ConcatFusion, AddFusion])
def test_streams_that_do_not_fit(kind):
    fusion = kind(CHANNELS)
    with pytest.raises(InputError, match='the streams have 2 and 1 levels, the fusion has in_channels for 2'):
        fusion(levels(), levels()[:1])
    with pytest.raises(InputError, match=r'level 0: .*shape \(2, 6, 8, 8\), of the second \(2, 6, 4, 4\)'):
        fusion(levels(), levels(side=4))
    with pytest.raises(InputError, match='level 0'):
        fusion(levels(), levels(batch=1))


@pytest.mark.parametrize('channels', [([], None), ([4], [4, 8])])
def test_bad_channels(channels):
    with pytest.raises(ConfigError, match='expected the channels of each level'):
        ConcatFusion(*channels)

"""The localisation network, and averaging over a grid of equal parts."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS

from stn_det.errors import ConfigError
from stn_det.models.stn.localizers import area_pool


def build(**options):
    return MODELS.build(dict(type='LocalizationNetwork', num_outputs=5, channels=(8, 16), **options))


@pytest.mark.parametrize('size', [(128, 128), (37, 91), (1, 1), (5, 200)])
@pytest.mark.parametrize('norm_cfg', [None, dict(type='GN', num_groups=4)])
def test_any_size_gives_zeros_at_the_start(size, norm_cfg):
    network = build(norm_cfg=norm_cfg)
    network.init_weights()
    numbers = network(torch.randn(2, 3, *size))
    assert torch.equal(numbers, torch.zeros(2, 5))
    assert network.hidden.weight.any()


def test_a_checkpoint_is_not_reset(tmp_path):
    trained = build()
    torch.nn.init.ones_(trained.output.weight)
    torch.save(trained.state_dict(), tmp_path / 'trained.pth')
    loaded = build(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'trained.pth')))
    loaded.init_weights()
    assert torch.equal(loaded.output.weight, trained.output.weight)


@pytest.mark.parametrize(('size', 'parts'), [((12, 8), 4), ((16, 16), 2), ((3, 6), 3)])
def test_area_pool_of_whole_cells_is_a_mean(size, parts):
    features = torch.rand(2, 3, *size)
    kernel = size[0] // parts, size[1] // parts
    assert torch.allclose(area_pool(features, parts), F.avg_pool2d(features, kernel), atol=1e-6)


@pytest.mark.parametrize('size', [(7, 9), (2, 5), (1, 1), (31, 64)])
def test_area_pool_keeps_the_mean_of_any_size(size):
    features = torch.rand(2, 3, *size)
    assert torch.allclose(area_pool(features, 4).mean((2, 3)), features.mean((2, 3)), atol=1e-6)


def test_area_pool_shares_cells_by_area():
    cells = torch.tensor([1.0, 2, 6])[None, None, None].expand(1, 1, 3, 3)
    assert torch.allclose(area_pool(cells, 2)[0, 0, 0], torch.tensor([(1 + 2 / 2) / 1.5, (2 / 2 + 6) / 1.5]))


@pytest.mark.parametrize(
    ('options', 'message'),
    [(dict(pool=0), 'pool 0'), (dict(hidden=0), 'hidden 0'), (dict(channels=()), r'channels is \(\), expected')],
)
def test_options_that_cannot_be_built(options, message):
    with pytest.raises(ConfigError, match=message):
        MODELS.build({'type': 'LocalizationNetwork', 'num_outputs': 4, **options})

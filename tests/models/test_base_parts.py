"""Parts that configs are put together from: backbones and the schedules of the DETR family."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS, OPTIM_WRAPPERS, PARAM_SCHEDULERS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

BACKBONES = {'swin_t': 'SwinTransformer'}


def base(repository: Path, kind: str, name: str) -> Path:
    """A file below ``_base_``."""
    return repository / 'configs' / '_base_' / kind / f'{name}.py'


@pytest.mark.parametrize('name', BACKBONES)
def test_backbone_gives_three_levels(repository: Path, name: str) -> None:
    part = Config.fromfile(base(repository, 'models', f'backbone_{name}'))
    part.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmdet'):
        backbone = MODELS.build(part.backbone)
        encoder = MODELS.build(
            dict(type='HybridEncoder', in_channels=part.backbone_channels, out_channels=16, num_blocks=1)
        )
    backbone.eval()
    with torch.no_grad():
        levels = backbone(torch.rand(1, 3, 64, 96))
        outs = encoder.eval()(levels)
    sizes = [(8, 12), (4, 6), (2, 3)]
    assert [level.shape[1] for level in levels] == part.backbone_channels
    assert [tuple(level.shape[2:]) for level in levels] == sizes
    assert [tuple(out.shape) for out in outs] == [(1, 16, *size) for size in sizes]


@pytest.mark.parametrize('name', BACKBONES)
def test_backbone_replaces_that_of_a_model(repository: Path, tmp_path: Path, name: str) -> None:
    leaf = tmp_path / 'leaf.py'
    leaf.write_text(
        f"_base_ = ['{base(repository, 'models', 's2anet_r50_fpn')}', "
        f"'{base(repository, 'models', 'backbone_' + name)}']\n"
        'model = dict(backbone=dict(_delete_=True, **_base_.backbone), '
        'neck=dict(in_channels=_base_.backbone_channels))\n'
    )
    config = Config.fromfile(leaf)
    assert config.model.backbone == config.backbone
    assert config.model.backbone.type == BACKBONES[name]
    assert config.model.neck.in_channels == config.backbone_channels
    assert config.model.neck.type == 'FPN'


@pytest.mark.parametrize(('epochs', 'drops'), [(12, [11]), (36, [27, 33]), (50, [40])])
def test_detr_schedule(repository: Path, epochs: int, drops: list[int]) -> None:
    config = Config.fromfile(base(repository, 'schedules', f'detr_{epochs}e'))
    model = nn.ModuleDict(dict(backbone=nn.Linear(2, 2), bbox_head=nn.Linear(2, 2)))
    with DefaultScope.overwrite_default_scope('mmdet'):
        wrapper = build_optim_wrapper(model, config.optim_wrapper)
        schedulers = [PARAM_SCHEDULERS.build(dict(step, optimizer=wrapper)) for step in config.param_scheduler]
    assert type(wrapper) is OPTIM_WRAPPERS.get('OptimWrapper')
    assert wrapper.clip_grad_kwargs == dict(max_norm=0.1, norm_type=2)
    groups = {id(weight): group for group in wrapper.param_groups for weight in group['params']}
    slow, fast = groups[id(model['backbone'].weight)], groups[id(model['bbox_head'].weight)]
    assert slow['weight_decay'] == fast['weight_decay'] == 1e-4
    assert config.train_cfg.max_epochs == epochs
    assert epochs % config.train_cfg.val_interval == 0 or epochs < config.train_cfg.val_interval
    for epoch in range(epochs):
        rate = 1e-4 * 0.1 ** sum(epoch >= drop for drop in drops)
        assert fast['lr'] == pytest.approx(rate)
        assert slow['lr'] == pytest.approx(0.1 * rate)
        fast['params'][0].grad = torch.zeros_like(fast['params'][0])
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()

"""The ablation of rotated transformers: every step changes what it says, and nothing else."""

import pytest
import rotated_detr as benchmark
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from stn_det.apis import load_config
from stn_det.models.layers import RotatedDeformableAttention


def _built(variant: str) -> torch.nn.Module:
    config = load_config(benchmark.stem(variant, 'scenes'))
    config.merge_from_dict(dict(benchmark.CHANGES[variant]))
    config.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(config.model)


def _traits(model: torch.nn.Module) -> dict[str, object]:
    head = model.bbox_head
    attention = [layer.cross_attn for layer in model.decoder.layers]
    assert all(isinstance(layer, RotatedDeformableAttention) for layer in attention)
    return {
        'turned': all(layer.rotate for layer in attention),
        'costs': sorted(type(cost).__name__ for cost in head.assigner.match_costs),
        'loss': type(head.loss_iou).__name__,
        'angle': (head.box_state.angle_mode, type(head.loss_angle).__name__),
        'noise': model.dn_query_generator is not None,
        'adaptive': head.adaptive_denoising,
        'union': head.union_matching,
    }


L1 = ['FocalLossCost', 'PeriodicBoxL1Cost']
KLD = ['FocalLossCost', 'GaussianCost', 'HausdorffCost']
BEFORE, AFTER = ('sigmoid', 'L1Loss'), ('periodic', 'PeriodicL1Loss')


@pytest.mark.parametrize(
    ('variant', 'expected'),
    [
        ('axis-aligned', (False, L1, 'NoneType', BEFORE, False, False, False)),
        ('rotated', (True, L1, 'NoneType', BEFORE, False, False, False)),
        ('kld, hausdorff', (True, KLD, 'GaussianBoxLoss', BEFORE, False, False, False)),
        ('periodic', (True, KLD, 'GaussianBoxLoss', AFTER, False, False, False)),
        ('denoising', (True, KLD, 'GaussianBoxLoss', AFTER, True, False, False)),
        ('adaptive', (True, KLD, 'GaussianBoxLoss', AFTER, True, True, False)),
        ('union', (True, KLD, 'GaussianBoxLoss', AFTER, True, False, True)),
    ],
)
def test_a_step_changes_what_it_says(variant: str, expected: tuple[object, ...]) -> None:
    assert tuple(_traits(_built(variant)).values()) == expected


def test_the_one_stage_detector_has_the_same_backbone_and_data() -> None:
    one, dino = (load_config(benchmark.stem(variant, 'scenes')) for variant in ('one-stage', 'denoising'))
    assert one.model.backbone == dino.model.backbone
    assert one.train_dataloader == dino.train_dataloader
    assert one.test_dataloader == dino.test_dataloader

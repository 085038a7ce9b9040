"""The one-stage detector with necks that align: written as a config, trained a step, asked for boxes."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

ALIGNED = """
_base_ = ['{base}']
model = dict(
    type='AlignedSingleStageDetector',
    backbone=dict(init_cfg=None),
    neck=[_base_.model.neck, dict(type='STNAlignNeck', in_channels=96, strides=(8, 16, 32))],
)
"""


def sample(size: int = 96) -> DetDataSample:
    """One image's truth."""
    data = DetDataSample(metainfo=dict(img_shape=(size, size), scale_factor=(2.0, 2.0), batch_input_shape=(size, size)))
    data.gt_instances = InstanceData(
        bboxes=torch.tensor([[30.0, 30, 40, 12, 0.5], [70, 70, 20, 20, 0]]), labels=torch.tensor([0, 1])
    )
    return data


@pytest.fixture
def base(repository: Path) -> Path:
    """The model of the smallest configs, whose parts are found."""
    init_default_scope('mmdet')
    return repository / 'configs' / '_base_' / 'models' / 'oriented_point_mobilenetv2_fpn.py'


def test_align_neck_in_a_config_builds_trains_and_predicts(base: Path, tmp_path: Path) -> None:
    (tmp_path / 'aligned.py').write_text(ALIGNED.format(base=base), encoding='utf-8')
    model = MODELS.build(Config.fromfile(tmp_path / 'aligned.py').model)
    model.init_weights()
    inputs = torch.rand(2, 3, 96, 96)
    losses = model.train()(inputs, [sample(), sample()], mode='loss')
    assert [name for name in losses if 'frame' in name] == [
        'neck.1.loss_frame_offset',
        'neck.1.loss_frame_scale',
        'neck.1.loss_frame_angle',
    ]
    total, log = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    assert total > log['neck.1.loss_frame_angle'] > 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    results = model.eval()(inputs, [sample(), sample()], mode='predict')
    assert results[0].pred_instances.bboxes.shape[-1] == 5


def test_untrained_neck_changes_no_prediction(base: Path) -> None:
    torch.manual_seed(0)
    config = Config.fromfile(base).model
    config.backbone.init_cfg = None
    config.test_cfg.score_thr = 0.0
    plain = MODELS.build(config).eval()
    config.type = 'AlignedSingleStageDetector'
    config.neck = [config.neck, dict(type='STNAlignNeck', in_channels=96, strides=(8, 16, 32))]
    aligned = MODELS.build(config).eval()
    weights = {name.replace('neck.', 'neck.0.'): value for name, value in plain.state_dict().items()}
    assert not aligned.load_state_dict(weights, strict=False).unexpected_keys
    inputs = torch.rand(1, 3, 96, 96)
    one, other = (model(inputs, [sample()], mode='predict')[0].pred_instances for model in (plain, aligned))
    assert len(one) > 0
    assert torch.equal(one.bboxes, other.bboxes)
    assert torch.equal(one.scores, other.scores)

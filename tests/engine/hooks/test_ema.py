"""Averaged weights: mmengine's ``EMAHook`` with mmdet's ``ExpMomentumEMA`` on a detector of ours."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import Tensor, nn

import stn_det.register  # noqa: F401
from stn_det.engine.resume import allow_mmengine_checkpoints

MOMENTUM, GAMMA = 0.01, 2.0
AVERAGE = dict(
    type='EMAHook', ema_type='ExpMomentumEMA', momentum=MOMENTUM, gamma=GAMMA, update_buffers=True, priority=49
)


def detector() -> nn.Module:
    """The hybrid encoder as the neck of a one-stage detector."""
    channels = 16
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(
            dict(
                type='SingleStageDetector',
                data_preprocessor=dict(type='DetDataPreprocessor', mean=[0, 0, 0], std=[1, 1, 1]),
                backbone=dict(type='MobileNetV2', widen_factor=0.25, out_indices=(2, 4)),
                neck=dict(
                    type='HybridEncoder',
                    in_channels=[8, 24],
                    out_channels=channels,
                    num_heads=2,
                    feedforward_channels=16,
                    num_blocks=1,
                ),
                bbox_head=dict(
                    type='OrientedPointHead',
                    num_classes=2,
                    in_channels=channels,
                    feat_channels=channels,
                    stacked_convs=1,
                    strides=(8, 16),
                    bbox_coder=dict(type='OrientedPointCoder', base_side=2.0),
                    assigner=dict(type='RotatedTaskAlignedAssigner', topk=13, alpha=1.0, beta=6.0),
                    loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0),
                    loss_bbox=dict(type='GaussianBoxLoss', distance='kld'),
                    loss_iou=dict(type='OrientedIoULoss', mode='iou'),
                ),
                test_cfg=dict(
                    nms_pre=100, score_thr=0.05, nms=dict(type='nms_rotated', iou_threshold=0.1), max_per_img=100
                ),
            )
        )


def sample() -> dict:
    """An image with one object."""
    truth = InstanceData(bboxes=torch.tensor([[30.0, 30, 40, 12, 0.5]]), labels=torch.tensor([0]))
    data = DetDataSample(metainfo=dict(img_shape=(64, 64), scale_factor=(1.0, 1.0), img_path='a.png'))
    data.gt_instances = truth
    data.ignored_instances = InstanceData(bboxes=torch.zeros(0, 5), labels=torch.zeros(0, dtype=torch.long))
    return dict(inputs=torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8), data_samples=data)


def state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of weights and buffers."""
    return {name: value.clone() for name, value in model.state_dict().items()}


class Witness(Hook):
    """Copies the state after each step, in validation and after it; runs behind the averaging."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.steps: list[dict] = []
        self.validation: dict = {}
        self.resumed: dict = {}

    def before_train(self, runner: Any) -> None:
        self.resumed = state(runner.model)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.steps.append(state(runner.model))

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.validation = state(runner.model)


class NoMetric(Evaluator):
    """Takes what the detector predicts and finds nothing in it."""

    def __init__(self) -> None:
        super().__init__([])

    def process(self, data_samples: Any, data_batch: Any = None) -> None:
        """Take nothing."""

    def evaluate(self, size: int) -> dict:
        """Find nothing."""
        return {}


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., tuple[Runner, Witness]]:
    """Trains in epochs of three steps, each with a validation and a checkpoint."""
    allow_mmengine_checkpoints()

    def train(epochs: int, **settings: Any) -> tuple[Runner, Witness]:
        witness = Witness()
        loader = dict(
            dataset=[sample() for _ in range(3)],
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
            batch_size=1,
        )
        runner = Runner(
            model=detector(),
            work_dir=str(tmp_path / 'work'),
            train_dataloader=loader,
            val_dataloader=loader,
            val_evaluator=NoMetric(),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            val_cfg=dict(),
            custom_hooks=[dict(AVERAGE), witness],
            default_scope='mmdet',
            experiment_name=f'{tmp_path.name}_{epochs}',
            log_level='WARNING',
            **settings,
        )
        runner.train()
        return runner, witness

    return train


def averaged(steps: list[dict]) -> dict[str, Tensor]:
    """The formula: the first state, then (1 - m) average + m state, m from 1 down to the momentum."""
    average = dict(steps[0])
    for count, current in enumerate(steps[1:], 1):
        momentum = (1 - MOMENTUM) * math.exp(-(1 + count) / GAMMA) + MOMENTUM
        for name, value in current.items():
            if value.is_floating_point():
                average[name] = (1 - momentum) * average[name] + momentum * value
    return average


def differ(one: dict, other: dict) -> bool:
    """Whether any weight or running statistic is another one."""
    return any(not torch.allclose(one[name], other[name]) for name in one if one[name].is_floating_point())


def test_update_validation_checkpoint_and_resuming(train: Callable, tmp_path: Path) -> None:
    runner, witness = train(1)
    expected, trained = averaged(witness.steps), witness.steps[-1]
    assert differ(expected, trained)
    # validation sees the average, batch statistics included, and hands the weights back
    torch.testing.assert_close(witness.validation, expected)
    torch.testing.assert_close(state(runner.model), trained)
    # a checkpoint offers the average to whoever loads it, and keeps the weights that training goes on from
    checkpoint = torch.load(tmp_path / 'work' / 'epoch_1.pth', weights_only=True)
    torch.testing.assert_close(dict(checkpoint['state_dict']), expected)
    kept = {name.removeprefix('module.'): value for name, value in checkpoint['ema_state_dict'].items()}
    assert kept.pop('steps') == 3
    torch.testing.assert_close(kept, trained)

    _, resumed = train(2, resume=True, load_from=str(tmp_path / 'work' / 'epoch_1.pth'))
    torch.testing.assert_close(resumed.resumed, trained)
    assert len(resumed.steps) == 3
    torch.testing.assert_close(resumed.validation, averaged(witness.steps + resumed.steps))


def test_the_folded_blocks_of_the_encoder_run_on_the_average() -> None:
    """Weights are put together when they are used, so exchanged ones take effect at once."""
    model, other = detector().eval(), detector().eval()
    image = torch.rand(1, 3, 64, 64)
    expected = other(image, mode='tensor')
    model(image, mode='tensor')
    for mine, theirs in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        mine.copy_(theirs)
    torch.testing.assert_close(model(image, mode='tensor'), expected)

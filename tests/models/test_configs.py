"""Every shipped config builds, takes a training step and predicts on a tiny batch."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn

CONFIGS = sorted(
    path for path in (Path(__file__).resolve().parents[2] / 'configs').rglob('*.py') if '_base_' not in path.parts
)


def sample(size: int, num_classes: int = 2) -> DetDataSample:
    """One image's truth: two boxes and an ignored one."""
    data = DetDataSample(metainfo=dict(img_shape=(size, size), scale_factor=(1.0, 1.0), batch_input_shape=(size, size)))
    data.gt_instances = InstanceData(
        bboxes=torch.tensor([[30.0, 30, 40, 12, 0.5], [70, 70, 20, 20, 0]]),
        labels=torch.tensor([0, min(1, num_classes - 1)]),
    )
    data.ignored_instances = InstanceData(bboxes=torch.tensor([[90.0, 20, 20, 10, 0]]), labels=torch.tensor([1]))
    return data


def trained(model: nn.Module) -> list[nn.Parameter]:
    """Parameters with a gradient, those that modules share once."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def numbers_of_classes(detector: ConfigDict) -> set[int]:
    """Of all heads of a detector that end in classes."""
    heads = detector.get('roi_head', detector).bbox_head
    return {head.num_classes for head in (heads if isinstance(heads, list) else [heads])}


def test_there_are_configs() -> None:
    assert CONFIGS


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_builds_trains_and_predicts(path: Path) -> None:
    config = Config.fromfile(path)
    init_default_scope(config.default_scope)
    for part in ('train_dataloader', 'val_dataloader', 'val_evaluator', 'optim_wrapper', 'visualizer'):
        assert part in config, f'{path.name} has no {part}'
    detector = config.model.get('detector', config.model)
    detector.backbone.init_cfg = None
    model = MODELS.build(config.model)
    optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    moved = [weight for group in optimizer.param_groups for weight in group['params'] if weight.requires_grad]
    assert len(moved) == len(trained(model))
    classes = config.train_dataloader.dataset.get('metainfo', {}).get('classes')
    assert classes is None or {len(classes)} == numbers_of_classes(detector)
    size = 128
    truth = [sample(size, max(numbers_of_classes(detector))) for _ in range(2)]
    inputs = torch.rand(2, 3, size, size)
    if config.model.type == 'TwoStreamDetector':
        inputs = (inputs, torch.rand(2, 3, size, size))
    losses = model.train()(inputs, truth, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    unused = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    assert config.get('find_unused_parameters') or not unused, f'DistributedDataParallel would stop at {unused}'
    results = model.eval()(inputs, truth, mode='predict')
    assert results[0].pred_instances.bboxes.shape[-1] == 5


@pytest.mark.parametrize('neck', ['stn-align', 'stn-global', 'aligned-fpn'])
def test_an_aligning_neck_begins_as_the_detector_without(neck: str) -> None:
    parent = 'oriented-point-le90_mobilenetv2_fpn'
    shipped = {path.stem: path for path in CONFIGS}
    models = []
    for stem in (f'{parent}_demo_scenes', f'{neck}_{parent}_12e_scenes'):
        config = Config.fromfile(shipped[stem])
        init_default_scope(config.default_scope)
        config.model.backbone.init_cfg = None
        models.append(MODELS.build(config.model).eval())
    plain, aligned = models
    pyramid = 'neck.' if neck == 'aligned-fpn' else 'neck.0.'
    weights = {name.replace('neck.', pyramid, 1): weight for name, weight in plain.state_dict().items()}
    assert not aligned.load_state_dict(weights, strict=False).unexpected_keys
    image = torch.rand(1, 3, 128, 160)
    for left, right in zip(plain(image, mode='tensor'), aligned(image, mode='tensor'), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


# Millions of parameters that the authors give for RTMDet-R, in the README of mmrotate's configs/rotated_rtmdet.
@pytest.mark.parametrize(('size', 'millions'), [('tiny', 4.88), ('s', 8.86), ('m', 24.67), ('l', 52.27)])
def test_sizes_of_rtmdet_are_the_published_ones(size: str, millions: float) -> None:
    config = Config.fromfile({path.stem: path for path in CONFIGS}[f'rotated-rtmdet_{size}_3x_dota'])
    init_default_scope(config.default_scope)
    config.model.backbone.init_cfg = None
    count = sum(parameter.numel() for parameter in MODELS.build(config.model).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.005)

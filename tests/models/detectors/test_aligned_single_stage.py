"""The one-stage detector with necks that align: written as a config, trained a step, asked for boxes."""

import math
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn

from stn_det.errors import ConfigError
from stn_det.geometry.warp import MatrixWarp
from stn_det.models import AlignedSingleStageDetector
from stn_det.models.warped_samples import warp_boxes

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


def model_with(base: Path, *necks: str) -> AlignedSingleStageDetector:
    """A detector with these necks behind the pyramid."""
    config = Config.fromfile(base).model
    config.backbone.init_cfg = None
    config.test_cfg.score_thr = 0.0
    config.type = 'AlignedSingleStageDetector'
    config.neck = [config.neck, *(dict(type=neck, in_channels=96, strides=(8, 16, 32)) for neck in necks)]
    return MODELS.build(config)


@pytest.mark.parametrize('necks', [('STNAlignNeck',), ('STNGlobalNeck',), ('STNGlobalNeck', 'STNAlignNeck')])
def test_untrained_necks_change_no_prediction(base: Path, necks: tuple[str, ...]) -> None:
    config = Config.fromfile(base).model
    config.backbone.init_cfg = None
    config.test_cfg.score_thr = 0.0
    plain, aligned = MODELS.build(config).eval(), model_with(base, *necks).eval()
    weights = {name.replace('neck.', 'neck.0.'): value for name, value in plain.state_dict().items()}
    assert not aligned.load_state_dict(weights, strict=False).unexpected_keys
    inputs = torch.rand(1, 3, 96, 96)
    one, other = (model(inputs, [sample()], mode='predict')[0].pred_instances for model in (plain, aligned))
    assert len(one) > 0
    assert torch.equal(one.bboxes, other.bboxes)
    assert torch.equal(one.scores, other.scores)


def shifting_model(base: Path) -> tuple[AlignedSingleStageDetector, MatrixWarp]:
    """A detector whose global neck shifts every image of 96 x 96 pixels, and the shift."""
    model = model_with(base, 'STNGlobalNeck', 'STNAlignNeck')
    torch.nn.init.constant_(model.neck[1].parameters_of.bias, 0.05)
    parameters = torch.full((2, 2), 0.1 * math.tanh(0.5))  # bounded by 0.1
    return model, MatrixWarp.from_parameters(parameters, 'translation', (96, 96))


def test_truth_goes_through_the_warp_of_the_features(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, shift = shifting_model(base)
    seen = []

    def spy(owner: nn.Module, name: str) -> None:
        """Note the samples, which are the last argument of a method."""
        method = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args: (seen.append(args[-1]), method(*args))[1])

    spy(model.bbox_head, 'loss')
    spy(model.neck[2], 'auxiliary_loss')
    samples = [sample(), sample()]
    total, _ = model.parse_losses(model.train()(torch.rand(2, 3, 96, 96), samples, mode='loss'))
    total.backward()
    expected = warp_boxes(samples[0].gt_instances.bboxes, shift[0])
    assert len(seen) == 2
    for moved in seen:
        assert torch.allclose(moved[0].gt_instances.bboxes, expected, atol=1e-4)
        assert not moved[0].gt_instances.bboxes.requires_grad
    assert samples[0].gt_instances.bboxes[0, 0] == 30
    assert model.neck[1].parameters_of.bias.grad.abs().sum() > 0


@pytest.mark.parametrize('rescale', [True, False])
def test_predictions_return_to_the_image(base: Path, monkeypatch: pytest.MonkeyPatch, rescale: bool) -> None:
    model, shift = shifting_model(base)
    truth = sample().gt_instances.bboxes
    found = InstanceData(bboxes=warp_boxes(truth, shift[0]), scores=torch.ones(2), labels=torch.tensor([0, 1]))
    monkeypatch.setattr(model.bbox_head, 'predict', lambda features, samples, rescale: [found] * len(samples))
    results = model.eval().predict(torch.rand(2, 3, 96, 96), [sample(), sample()], rescale=rescale)
    factor = torch.tensor([2.0, 2, 2, 2, 1]) if rescale else torch.ones(5)  # the input is twice the original image
    assert torch.allclose(results[1].pred_instances.bboxes, truth / factor, atol=1e-4)
    assert results[1].pred_instances.labels.tolist() == [0, 1]


@pytest.mark.parametrize('necks', [('STNAlignNeck', 'STNGlobalNeck'), ('STNGlobalNeck', 'STNGlobalNeck')])
def test_an_order_in_which_the_truth_does_not_fit_is_refused(base: Path, necks: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match='stand in this order; expected one STNGlobalNeck, before all parts'):
        model_with(base, *necks)

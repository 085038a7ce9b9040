"""Oriented R-CNN and RoI Transformer as whole detectors: odd images, frames of the predictions, raw outputs."""

from pathlib import Path

import pytest
import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor

from stn_det.structures import RotatedBoxes

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'
SIZE = 96


@pytest.fixture(params=['oriented_rcnn/oriented-rcnn', 'roi_trans/roi-trans'])
def detector(request: pytest.FixtureRequest) -> TwoStageDetector:
    """The detectors of the CPU-sized configs, without weights from elsewhere."""
    config = Config.fromfile(CONFIGS / f'{request.param}-le90_mobilenetv2_fpn_12e_scenes.py')
    init_default_scope(config.default_scope)
    config.model.backbone.init_cfg = None
    config.model.test_cfg.rcnn.score_thr = 0.01
    model = MODELS.build(config.model)
    model.init_weights()
    return model


def sample(boxes: Tensor, ignored: Tensor | None = None, scale: float = 1.0) -> DetDataSample:
    """One image's truth."""
    data = DetDataSample(metainfo=dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE), scale_factor=(scale, scale)))
    data.gt_instances = InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long))
    if ignored is not None:
        data.ignored_instances = InstanceData(bboxes=ignored, labels=torch.zeros(len(ignored), dtype=torch.long))
    return data


def images(batch: int = 1) -> Tensor:
    """Random images."""
    return torch.randn((batch, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))


def crowd(number: int) -> Tensor:
    """Small objects (number, 5) all over the image."""
    draw = torch.rand((number, 5), generator=torch.Generator().manual_seed(1))
    return torch.cat([draw[:, :2] * SIZE, 6 + draw[:, 2:3] * 6, 3 + draw[:, 3:4] * 3, draw[:, 4:]], 1)


@pytest.mark.parametrize(
    'samples',
    [
        [sample(torch.zeros(0, 5))],
        [sample(torch.zeros(0, 5)), sample(crowd(3))],
        [sample(crowd(3000))],
        [sample(torch.zeros(0, 5), ignored=crowd(4))],
        [sample(torch.tensor([[20.0, 20, 0, 0, 0], [-900, 9, 30, 20, 1], [50, 50, 1e5, 1e-3, 0.3]]))],
    ],
    ids=['no object', 'one without', 'three thousand', 'only ignored', 'extreme'],
)
@pytest.mark.parametrize('half', [False, True], ids=['float32', 'bfloat16'])
def test_odd_images_train(detector: TwoStageDetector, samples: list[DetDataSample], half: bool) -> None:
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=half):
        total, losses = detector.parse_losses(detector(images(len(samples)), samples, mode='loss'))
    total.backward()
    assert torch.isfinite(total)
    assert losses['loss_rpn_cls'] > 0
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters() if p.grad is not None)


def test_an_image_ignored_as_a_whole_bears_no_loss(detector: TwoStageDetector) -> None:
    everything = torch.tensor([[48.0, 48.0, 1000.0, 1000.0, 0.2]])
    losses = detector(images(), [sample(torch.zeros(0, 5), ignored=everything)], mode='loss')
    assert {name: loss.item() for name, loss in losses.items()} == dict.fromkeys(losses, 0)


def test_truth_may_come_as_boxes(detector: TwoStageDetector) -> None:
    boxes = sample(crowd(3))
    boxes.gt_instances.bboxes = RotatedBoxes(boxes.gt_instances.bboxes)
    losses = detector(images(), [boxes], mode='loss')
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_predictions_come_in_either_frame(detector: TwoStageDetector) -> None:
    detector.eval()
    plain = detector.predict(images(), [sample(crowd(1), scale=2.0)], rescale=False)[0].pred_instances
    half = detector.predict(images(), [sample(crowd(1), scale=2.0)], rescale=True)[0].pred_instances
    assert len(plain) > 0
    same = torch.cat([half.bboxes[:, :4] * 2, half.bboxes[:, 4:]], 1)
    torch.testing.assert_close(same, plain.bboxes, atol=1e-3, rtol=1e-3)
    assert (plain.bboxes[:, 2] >= plain.bboxes[:, 3]).all()


def test_images_without_proposals_have_no_detections(detector: TwoStageDetector) -> None:
    detector.rpn_head.test_cfg.min_bbox_size = 10_000
    found = detector.eval().predict(images(2), [sample(crowd(1)), sample(crowd(1))])
    assert [item.pred_instances.bboxes.shape for item in found] == [(0, 5), (0, 5)]


def test_raw_outputs_are_scores_and_codes(detector: TwoStageDetector) -> None:
    (outputs,) = detector.eval()(images(), [sample(crowd(1))], mode='tensor')
    scores, codes = outputs
    assert scores.shape[1] == 7
    assert codes.shape == (scores.shape[0], 5)

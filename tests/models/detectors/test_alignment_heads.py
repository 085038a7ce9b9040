"""The alignment heads inside of the detectors that wrap heads."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

S2A = dict(
    type='S2AHead',
    num_classes=2,
    in_channels=16,
    feat_channels=16,
    stacked_convs=1,
    anchor_generator=dict(type='AnchorGenerator', scales=[3], ratios=[1.0], strides=[8, 16, 32], center_offset=0.5),
)
ALIGN = dict(type='OrientedAlignHead', num_classes=2, in_channels=16, feat_channels=16, stacked_convs=1)
FPN = dict(type='FPN', in_channels=[8, 24, 80], out_channels=16, num_outs=3)


def single_stage(kind: str, head: dict, neck: object) -> ConfigDict:
    """A one-stage detector with few channels."""
    return ConfigDict(
        type=kind,
        backbone=dict(type='MobileNetV2', out_indices=(2, 4, 6), widen_factor=0.25),
        neck=neck,
        bbox_head=head,
        test_cfg=dict(nms_pre=50, score_thr=0.0, nms=dict(type='nms_rotated', iou_threshold=0.1), max_per_img=10),
    )


def wrapped(head: dict) -> ConfigDict:
    """The head behind a spatial transformer."""
    detector = single_stage('SingleStageDetector', head, FPN)
    transformer = dict(type='SpatialTransformer', localizer=dict(type='LocalizationNetwork', channels=(8, 8), pool=2))
    return ConfigDict(type='STNDetector', detector=detector, transformer=transformer)


def aligned(head: dict) -> ConfigDict:
    """The head behind a neck that aligns."""
    necks = [FPN, dict(type='STNAlignNeck', in_channels=16, tower_channels=8)]
    return single_stage('AlignedSingleStageDetector', head, necks)


def samples() -> list[DetDataSample]:
    """Truth of one image, at twice the size of the original."""
    sample = DetDataSample(
        metainfo=dict(img_shape=(96, 128), batch_input_shape=(96, 128), pad_shape=(96, 128), scale_factor=(2.0, 2.0))
    )
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[40.0, 40.0, 50.0, 20.0, 0.4], [90.0, 60.0, 20.0, 20.0, 0.0]]), labels=torch.tensor([0, 1])
    )
    sample.ignored_instances = InstanceData(bboxes=torch.tensor([[90.0, 20.0, 20.0, 10.0, 0.0]]))
    return [sample]


@pytest.mark.parametrize('head', [S2A, ALIGN], ids=['S2AHead', 'OrientedAlignHead'])
@pytest.mark.parametrize('build', [aligned, wrapped])
def test_it_trains_and_predicts_inside(build, head: dict) -> None:
    model = MODELS.build(build(head))
    model.init_weights()
    images = torch.rand(1, 3, 96, 128)
    total, log = model.parse_losses(model.train()(images, samples(), mode='loss'))
    total.backward()
    assert torch.isfinite(total)
    assert any('odm_bbox' in name or 'coarse_bbox' in name for name in log)
    model.eval()
    with torch.no_grad():
        original = model.predict(images, samples(), rescale=True)[0].pred_instances
        in_input = model.predict(images, samples(), rescale=False)[0].pred_instances
    assert len(original) == len(in_input) == 10
    torch.testing.assert_close(2 * original.bboxes[:, :4], in_input.bboxes[:, :4], rtol=1e-3, atol=1e-2)


def test_loss_and_prediction_of_one_pass() -> None:
    head = MODELS.build(ConfigDict({**S2A, 'test_cfg': dict(score_thr=0.0, nms_pre=50)}))
    head.init_weights()
    x = tuple(torch.rand(1, 16, 96 // stride, 128 // stride) for stride in (8, 16, 32))
    losses, found = head.loss_and_predict(x, samples())
    expected = head.loss(x, samples())
    assert losses.keys() == expected.keys()
    torch.testing.assert_close(losses['loss_odm_bbox'], expected['loss_odm_bbox'])
    assert torch.equal(found[0].bboxes, head.predict(x, samples())[0].bboxes)

"""A detector behind a spatial transformer: boxes and pixels by the same map, there and back."""

import copy
import math

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.models.detectors.base import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from stn_det.errors import ConfigError, InputError
from stn_det.geometry import rotation_matrix, scaling, translation
from stn_det.geometry.warp import MatrixWarp
from stn_det.models.stn import Transformed
from stn_det.models.stn.signals import View
from stn_det.structures import RotatedBoxes

HEAD = dict(
    type='OrientedPointHead', num_classes=2, in_channels=16, feat_channels=16, stacked_convs=1, strides=(8, 16, 32),
    loss_iou=dict(type='OrientedIoULoss'), test_cfg=dict(score_thr=0.0, nms_pre=20, max_per_img=10),
)  # fmt: skip
PLAIN = dict(
    type='SingleStageDetector',
    backbone=dict(type='MobileNetV2', out_indices=(2, 4, 6), widen_factor=0.25),
    neck=dict(type='FPN', in_channels=[8, 24, 80], out_channels=16, num_outs=3),
    bbox_head=HEAD,
    test_cfg=HEAD['test_cfg'],
    data_preprocessor=dict(type='mmdet.DetDataPreprocessor', mean=[0.0], std=[255.0], pad_size_divisor=32),
)
SMALL = dict(type='LocalizationNetwork', channels=(8, 8), pool=2)


class DotDetector(BaseDetector):
    """Finds the one bright dot of an image: a box of 8 x 4 pixels, or a quarter turn of it, around its centroid."""

    def __init__(self, columns=5):
        super().__init__()
        self.columns = columns

    def extract_feat(self, batch_inputs):
        return (batch_inputs,)

    def loss(self, batch_inputs, batch_data_samples):
        self.seen = batch_inputs, batch_data_samples
        return dict(loss_dot=batch_inputs.square().mean())

    def predict(self, batch_inputs, batch_data_samples, rescale=True):
        assert not rescale
        self.seen = batch_inputs, batch_data_samples
        height, width = batch_inputs.shape[2:]
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij')
        for image, sample in zip(batch_inputs, batch_data_samples):
            mass = image.sum()
            center = torch.stack([(image * x).sum() / mass / 1, (image * y).sum() / mass])
            boxes = torch.cat([center, torch.tensor([8.0, 4.0, 0.3])])[None]
            if self.columns == 4:
                boxes = torch.cat([center - 4, center + 4])[None]
            sample.pred_instances = InstanceData(bboxes=boxes, scores=torch.ones(1), labels=torch.zeros(1).long())
        return batch_data_samples

    def _forward(self, batch_inputs, batch_data_samples=None):
        return (batch_inputs,)


class FixedTransformer(torch.nn.Module):
    """Warps every image by the same matrix."""

    frozen, thumbnail = False, 64

    def __init__(self, matrix):
        super().__init__()
        self.matrix = torch.nn.Parameter(matrix.clone())

    def forward(self, images, features=None):
        warp = MatrixWarp(self.matrix.expand(len(images), 3, 3), tuple(images.shape[2:]))
        return Transformed(warp.transform_images(images), warp, self.matrix.new_zeros(len(images), 1))


def _wrap(matrix=None, inner=None, **options):
    transformer = dict(type='SpatialTransformer', localizer=SMALL, thumbnail=32)
    model = MODELS.build(dict(type='STNDetector', detector=PLAIN, transformer=transformer, **options))
    if matrix is not None:
        model.transformer, model.detector = FixedTransformer(matrix), inner or DotDetector()
    return model


def _dot(x, y, size=(96, 128), sigma=2.5):
    rows, columns = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing='ij')
    return torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))[None, None]


def _sample(boxes=((64.0, 48, 20, 8, 0.2),), size=(96, 128), **metainfo):
    sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), **metainfo))
    boxes = torch.tensor(boxes).reshape(-1, 5)
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long))
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 5), labels=torch.zeros(0, dtype=torch.long))
    return sample


WARPS = {
    'shift': translation(7.3, -4.1),
    'turn': rotation_matrix(1.1, (64, 48)),
    'scale': scaling(1.3, 1.3, (64, 48)),
    'shear': torch.tensor([[1.1, 0.2, -9.0], [-0.1, 0.9, 9.0], [0.0, 0.0, 1.0]], dtype=torch.float64),
    'mirror': scaling(-1, 1, (64, 48)),
}


@torch.no_grad()
@pytest.mark.parametrize('name', WARPS)
def test_predictions_come_back_to_where_the_object_is(name):
    model = _wrap(WARPS[name])
    found = model.predict(_dot(70.2, 44.6), [_sample()])[0]
    box = found.pred_instances.bboxes[0]
    assert (box[:2] - torch.tensor([70.2, 44.6])).abs().max() < 0.05
    assert np.allclose(found.stn_matrix, WARPS[name])
    linear = WARPS[name][:2, :2].inverse()
    assert box[2] * box[3] == pytest.approx(32 * float(linear.det().abs()), rel=1e-4)


@pytest.mark.parametrize('name', WARPS)
def test_labels_go_where_the_pixels_go(name):
    model = _wrap(WARPS[name])
    model.loss(_dot(70.2, 44.6), [_sample([[70.2, 44.6, 12, 6, 0.1]])])
    images, samples = model.detector.seen
    center = samples[0].gt_instances.bboxes[0, :2]
    result = DotDetector().predict(images, [DetDataSample()], rescale=False)
    assert (result[0].pred_instances.bboxes[0, :2] - center).abs().max() < 0.05


def test_predictions_are_rescaled_to_the_original_image():
    model = _wrap(WARPS['turn'])
    sample = _sample()
    sample.set_metainfo(dict(scale_factor=(2.0, 0.5)))
    box = model.predict(_dot(70.2, 44.6), [sample], rescale=True)[0].pred_instances.bboxes[0]
    assert (box[:2] - torch.tensor([35.1, 89.2])).abs().max() < 0.1
    box = model.predict(_dot(70.2, 44.6), [_sample()], rescale=False)[0].pred_instances.bboxes[0]
    assert (box[:2] - torch.tensor([70.2, 44.6])).abs().max() < 0.05


def test_through_a_pipeline_of_resize_flip_and_pad():
    """The dot, its label and its prediction stay together from the file to the common view and back."""
    image = (_dot(140.3, 60.8, (160, 240), 5.0)[0, 0].numpy()[..., None] * 250).astype(np.float32).repeat(3, 2)
    label = np.array([[140.3, 60.8, 30, 12, 0.4]], dtype=np.float32)
    pipeline = Compose([
        dict(type='mmdet.Resize', scale=(120, 80), keep_ratio=True),
        dict(type='mmdet.RandomFlip', prob=1.0, direction='diagonal'),
        dict(type='mmdet.PackDetInputs', meta_keys=('img_shape', 'ori_shape', 'scale_factor')),
    ])  # fmt: skip
    results = pipeline(dict(
        img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2], gt_bboxes=RotatedBoxes(label),
        gt_bboxes_labels=np.zeros(1, dtype=np.int64), gt_ignore_flags=np.zeros(1, dtype=bool),
    ))  # fmt: skip
    model = _wrap(WARPS['turn'] @ scaling(0.8, 0.8, (64, 48)))
    data = model.data_preprocessor(dict(inputs=[results['inputs']], data_samples=[results['data_samples']]), True)
    inputs = data['inputs'][:, :1]
    assert inputs.shape[2:] == (96, 128)  # padded
    model.loss(inputs, data['data_samples'])
    seen, samples = model.detector.seen
    dot = DotDetector().predict(seen, [DetDataSample()], rescale=False)[0].pred_instances.bboxes[0, :2]
    assert (dot - samples[0].gt_instances.bboxes[0, :2]).abs().max() < 0.05
    box = model.predict(inputs, data['data_samples'])[0].pred_instances.bboxes[0]
    expected = torch.tensor([240 - 140.3, 160 - 60.8])  # a flip is not taken back by predict, as in mmdet
    assert (box[:2] - expected).abs().max() < 0.1


def test_horizontal_boxes_come_back_by_the_ellipse():
    model = _wrap(WARPS['turn'], DotDetector(columns=4))
    box = model.predict(_dot(70.2, 44.6), [_sample()])[0].pred_instances.bboxes[0]
    assert torch.allclose(box, torch.tensor([66.2, 40.6, 74.2, 48.6]), atol=0.05)  # a circle stays one


def test_predictions_behind_a_horizon_are_left_out():
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[2, 0] = 0.02  # the inverse has its horizon at x = 50
    found = _wrap(matrix).predict(_dot(70.2, 44.6), [_sample()])[0]
    assert found.pred_instances.bboxes.isfinite().all()


def test_objects_that_leave_are_ignored_and_counted():
    model = _wrap(translation(80, 0))
    losses = model.loss(_dot(20, 40), [_sample([[20.0, 40, 8, 4, 0], [100, 40, 8, 4, 0]])])
    sample = model.detector.seen[1][0]
    assert losses['stn_lost'] == 1
    assert sample.gt_instances.bboxes[:, 0].tolist() == [100]
    assert sample.ignored_instances.bboxes[:, 0].tolist() == [180]


def test_figures_for_the_log():
    losses = _wrap(rotation_matrix(-0.5, (64, 48)) @ scaling(0.5, 0.5, (64, 48))).loss(_dot(64, 48), [_sample()])
    assert losses['stn_rotation'] == pytest.approx(math.degrees(0.5), rel=1e-5)
    assert losses['stn_scale'] == pytest.approx(0.5)
    assert losses['stn_coverage'] == 1
    assert not any('loss' in name for name in losses if name.startswith('stn_'))


def test_the_label_bears_no_gradient_but_the_pixels_do():
    model = _wrap(WARPS['turn'])
    losses = model.loss(_dot(70, 44), [_sample()])
    assert not model.detector.seen[1][0].gt_instances.bboxes.requires_grad
    losses['loss_dot'].backward()
    whole = _wrap(WARPS['turn'], detection_gradient=1)
    whole.loss(_dot(70, 44), [_sample()])['loss_dot'].backward()
    assert whole.transformer.matrix.grad.abs().sum() > 0
    assert torch.allclose(model.transformer.matrix.grad, 0.1 * whole.transformer.matrix.grad)
    still = _wrap(WARPS['turn'], detection_gradient=0)
    assert not still.loss(_dot(70, 44), [_sample()])['loss_dot'].requires_grad


def _batch(count=2, size=(96, 128)):
    torch.manual_seed(0)
    return torch.randn(count, 3, *size), [_sample(size=size) for _ in range(count)]


def test_at_the_start_losses_and_predictions_are_those_of_the_detector():
    torch.manual_seed(0)
    model = _wrap().eval()
    images, samples = _batch()
    inner = model.detector
    expected, found = inner.loss(images, samples), model.loss(images, copy.deepcopy(samples))
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    expected, found = inner.predict(images, copy.deepcopy(samples)), model.predict(images, samples)
    for one, other in zip(expected, found):
        assert torch.equal(one.pred_instances.bboxes, other.pred_instances.bboxes)
        assert torch.equal(one.pred_instances.scores, other.pred_instances.scores)


SIGNALS = [
    dict(type='PriorSignal'),
    dict(type='EquivarianceSignal', family='similarity', limits=dict(rotation=0.5)),
    dict(type='MetadataSignal'),
    dict(type='RegularitySignal'),
]


@pytest.mark.parametrize('share_layers', [None, 0])
@pytest.mark.parametrize('anchor', [True, False])
def test_a_training_step_teaches_the_localiser(share_layers, anchor):
    torch.manual_seed(0)
    signals = copy.deepcopy(SIGNALS)
    signals[1]['anchor'] = anchor
    model = _wrap(signals=signals, share_layers=share_layers)
    if share_layers is not None:
        model.transformer = MODELS.build(
            dict(type='SpatialTransformer', localizer=dict(SMALL, in_channels=8), thumbnail=32)
        )
    model.init_weights()
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    images, samples = _batch()
    samples[1].set_metainfo(dict(camera=dict(north=20.0), homography_matrix=np.eye(3)))
    for _ in range(2):
        losses = model.loss(images, samples)
        total, logs = model.parse_losses(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    for name in ('loss_prior', 'loss_equivariance', 'loss_metadata', 'loss_area', 'loss_coverage', 'stn_coverage'):
        assert math.isfinite(logs[name]), name
    convolutions = [module for module in model.transformer.localizer.modules() if isinstance(module, torch.nn.Conv2d)]
    assert all(convolution.weight.grad.abs().sum() > 0 for convolution in convolutions)


def test_signals_go_on_while_the_transformer_is_frozen():
    model = _wrap(signals=[SIGNALS[0], SIGNALS[1]])
    with torch.no_grad():
        for parameter in model.transformer.localizer.parameters():
            parameter.add_(0.05)
    model.transformer.frozen = True
    images, samples = _batch()
    losses = model.loss(images, samples)
    assert losses['loss_prior'] > 0
    assert losses['stn_rotation'] == 0
    assert losses['loss_prior'].requires_grad


def test_while_frozen_the_detector_learns_bit_for_bit_as_without_a_transformer():
    def start(config):
        torch.manual_seed(5)
        model = MODELS.build(config)
        model.init_weights()
        return model.train()

    transformer = dict(type='SpatialTransformer', localizer=SMALL, thumbnail=32)
    wrapped = start(
        dict(type='STNDetector', detector=PLAIN, transformer=transformer, signals=[dict(type='PriorSignal')])
    )
    plain = start(PLAIN)
    wrapped.transformer.frozen = True
    images, samples = (
        torch.rand(2, 3, 96, 128),
        [_sample(), _sample(((100.3, 20.7, 30, 9, 1.1), (130.0, 5, 20, 8, 0.2)))],
    )
    for model in (wrapped, plain):
        losses = model.loss(images, copy.deepcopy(samples))
        model.parse_losses(losses)[0].backward()
    assert torch.equal(losses['loss_iou'], wrapped.loss(images, copy.deepcopy(samples))['loss_iou'])
    inside = dict(wrapped.detector.named_parameters())
    for name, weight in plain.named_parameters():
        assert torch.equal(weight, inside[name]), name
        other = inside[name].grad
        assert weight.grad is other is None or torch.equal(weight.grad, other), name


def test_orientations_are_taught_by_the_prior():
    transformer = dict(
        type='SpatialTransformer', family='rotation', thumbnail=32, localizer=None,
        orientation=dict(type='OrientationLocalizer', num_orientations=4, channels=(8, 8)),
    )  # fmt: skip
    model = MODELS.build(
        dict(type='STNDetector', detector=PLAIN, transformer=transformer, signals=[dict(type='PriorSignal')])
    )
    losses = model.loss(*_batch())
    assert losses['loss_orientation'].item() == pytest.approx(math.log(4))
    assert losses['loss_orientation'].requires_grad


def test_metadata_name_the_pose():
    signal = MODELS.build(dict(type='MetadataSignal', target_gsd=0.5))
    samples = [_sample(camera=dict(gsd=0.25, north=30.0)), _sample()]
    right = translation(64, 48) @ scaling(0.5, 0.5) @ rotation_matrix(-math.pi / 6) @ translation(-64, -48)
    for matrix, expected in ((right, 0.0), (torch.eye(3, dtype=torch.float64), None)):
        warp = MatrixWarp(matrix.expand(2, 3, 3), (96, 128))
        loss = signal(View(torch.zeros(2, 3, 96, 128), samples, warp, None, None, None, 64))['loss_metadata']
        assert loss == pytest.approx(0, abs=1e-9) if expected == 0.0 else loss > 0.1


def test_metadata_name_the_orientation():
    signal = MODELS.build(dict(type='MetadataSignal'))
    samples = [_sample(camera=dict(north=90.0)), _sample(), _sample(camera=dict(north=-40.0))]
    warp, logits = MatrixWarp.identity(3, (96, 128)), torch.zeros(3, 8)
    logits[0, 6] = logits[2, 1] = 30.0  # turns by -90 and by 45 degrees
    losses = signal(View(torch.zeros(3, 3, 96, 128), samples, warp, None, logits, None, 64))
    assert losses['loss_orientation'] < 1e-6


def test_empty_truth_bf16_and_plain_forward():
    model = _wrap(signals=SIGNALS[:2])
    images, _ = _batch()
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(images, [_sample(()), _sample(())])
    assert all(torch.as_tensor(value).isfinite().all() for value in losses.values())
    assert len(model(images, mode='tensor')) == 2
    assert [level.shape[-1] for level in model.extract_feat(images)] == [16, 8, 4]
    assert model.with_neck


def test_data_preprocessor_of_the_detector_inside_is_used():
    model = _wrap()
    assert model.data_preprocessor.pad_size_divisor == 32
    with pytest.raises(ConfigError, match='data_preprocessor is given for STNDetector and for the detector inside'):
        _wrap(data_preprocessor=dict(type='mmdet.DetDataPreprocessor'))
    with pytest.raises(ConfigError, match='detection_gradient is -1, expected a factor of 0 or more'):
        _wrap(detection_gradient=-1)


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (
            dict(type='EquivarianceSignal', family='shear'),
            ConfigError,
            "family is 'shear', expected one of translation",
        ),
        (dict(type='RegularitySignal', area_weight=-1), InputError, r'weights are \(-1, 0.1\), expected 0 or more'),
    ],
)
def test_errors_of_signals(options, error, message):
    with pytest.raises(error, match=message):
        MODELS.build(options)

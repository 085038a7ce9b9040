"""The detector of two sensors, with heads of one and of two stages."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model import BaseModule
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn

from stn_det.apis import load_config
from stn_det.errors import ConfigError, InputError
from stn_det.models import TwoStreamDetector

SIZE = 64


@pytest.fixture(autouse=True)
def _mmdet_scope():
    init_default_scope('mmdet')


def single_stage():
    backbone = dict(type='ResNet', depth=18, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(1, 2))
    return dict(
        type='SingleStageDetector',
        backbone=backbone | dict(base_channels=8),
        neck=dict(type='FPN', in_channels=[16, 32], out_channels=16, num_outs=2),
        bbox_head=dict(
            type='OrientedPointHead',
            num_classes=2,
            in_channels=16,
            feat_channels=16,
            stacked_convs=1,
            strides=(8, 16),
            norm_cfg=dict(type='GN', num_groups=4),
            bbox_coder=dict(type='OrientedPointCoder'),
            assigner=dict(type='RotatedTaskAlignedAssigner'),
            loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True),
            loss_bbox=dict(type='GaussianBoxLoss'),
        ),
        test_cfg=dict(nms_pre=50, score_thr=0.0, nms=dict(iou_threshold=0.1), max_per_img=20),
    )


def config(**kwargs):
    defaults = dict(
        type='TwoStreamDetector',
        data_preprocessor=dict(
            type='PairedDetDataPreprocessor',
            first=dict(mean=[120.0], std=[60.0]),
            second=dict(mean=[90.0], std=[30.0]),
            pad_size_divisor=16,
        ),
        detector=single_stage(),
        fusion=dict(type='ConcatFusion', in_channels=[16, 32]),
    )
    return {**defaults, **kwargs}


def build(**kwargs):
    model = MODELS.build(config(**kwargs))
    model.init_weights()
    return model


def sample(boxes=((30.0, 30, 20, 10, 0.5),)):
    data = DetDataSample(metainfo=dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0)))
    instances = dict(bboxes=torch.tensor(boxes).reshape(-1, 5), labels=torch.zeros(len(boxes), dtype=torch.long))
    data.gt_instances = InstanceData(**instances)
    data.ignored_instances = InstanceData(bboxes=torch.zeros(0, 5), labels=torch.zeros(0, dtype=torch.long))
    return data


def batch(*samples, channels=3):
    return dict(
        inputs=[torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8) for _ in samples],
        second_inputs=[torch.randint(0, 256, (channels, SIZE, SIZE), dtype=torch.uint8) for _ in samples],
        data_samples=list(samples),
    )


@pytest.mark.parametrize('sensors', ['both', 'first', 'second'])
@pytest.mark.parametrize('second_backbone', ['copy', 'shared'])
def test_train_val_and_test_steps(sensors, second_backbone):
    model = build(sensors=sensors, second_backbone=second_backbone)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    logs = model.train_step(batch(sample(), sample(())), wrapper)
    assert {'loss', 'loss_cls', 'loss_bbox'} <= logs.keys()
    assert all(torch.isfinite(value).all() for value in logs.values())
    model.eval()
    for step in (model.val_step, model.test_step):
        found = step(batch(sample(), sample()))
        assert len(found) == 2
        assert found[0].pred_instances.bboxes.shape[1] == 5
    assert isinstance(model(*model.data_preprocessor(batch(sample())).values(), mode='tensor'), tuple)


@pytest.mark.parametrize('sensors', ['both', 'first', 'second'])
@pytest.mark.parametrize('second_backbone', ['copy', 'shared'])
def test_every_parameter_takes_part(sensors, second_backbone):
    # DistributedDataParallel stops at one that does not
    model = build(sensors=sensors, second_backbone=second_backbone)
    loss, _ = model.parse_losses(model(**model.data_preprocessor(batch(sample())), mode='loss'))
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize('fusion', ['ConcatFusion', 'AddFusion'])
def test_it_starts_as_the_detector_of_the_first_sensor(fusion, tmp_path):
    single = MODELS.build(
        single_stage() | dict(data_preprocessor=dict(type='DetDataPreprocessor', mean=[120.0], std=[60.0]))
    )
    single.init_weights()
    checkpoint = str(tmp_path / 'single.pth')
    torch.save(dict(state_dict=single.state_dict()), checkpoint)
    detector = single_stage() | dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint))
    detector['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')
    model = build(detector=detector, fusion=dict(type=fusion, in_channels=[16, 32])).eval()
    data = batch(sample())
    wanted = single.eval().test_step(copy.deepcopy(data))[0].pred_instances
    found = model.test_step(copy.deepcopy(data))[0].pred_instances
    assert len(found) == 20
    assert torch.equal(found.bboxes, wanted.bboxes)
    assert torch.equal(found.scores, wanted.scores)


def test_one_sensor_does_not_look_at_the_other():
    data = batch(sample())
    for sensors, other in (('first', 'second_inputs'), ('second', 'inputs')):
        model = build(sensors=sensors).eval()
        before = model.test_step(copy.deepcopy(data))[0].pred_instances.scores
        changed = copy.deepcopy(data) | {other: [torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)]}
        assert torch.equal(model.test_step(changed)[0].pred_instances.scores, before)
        unused = 'second' if sensors == 'first' else 'first'
        assert not any(name.startswith((f'{unused}_backbone', 'fusion')) for name in model.state_dict())


def test_backbones_are_copied_shared_or_given():
    copied, shared = build(), build(second_backbone='shared')
    count = sum(p.numel() for p in copied.first_backbone.parameters())
    assert sum(p.numel() for p in copied.parameters()) == sum(p.numel() for p in shared.parameters()) + count
    assert not any(name.startswith('second') for name in shared.state_dict())
    grey = single_stage()['backbone'] | dict(in_channels=1, base_channels=4)
    model = build(
        second_backbone=grey, fusion=dict(type='ConcatFusion', in_channels=[16, 32], second_channels=[8, 16])
    ).eval()
    assert len(model.test_step(batch(sample(), channels=1))[0].pred_instances) > 0


def tiny_resnet(out_indices):
    return dict(type='ResNet', depth=18, base_channels=8, out_indices=out_indices, norm_eval=True)


def two_stages():
    """Faster R-CNN of mmdet, made small."""
    model = load_config('mmdet::_base_/models/faster-rcnn_r50_fpn.py').model
    model.backbone = tiny_resnet((0, 1, 2, 3))
    model.neck.in_channels = [8, 16, 32, 64]
    model.roi_head.bbox_head.fc_out_channels = 32
    return model


def queries():
    """Deformable DETR of mmdet, made small."""
    model = load_config('mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py').model
    model.backbone = tiny_resnet((1, 2, 3))
    model.neck.in_channels = [16, 32, 64]
    model.num_queries = 20
    model.encoder.num_layers = model.decoder.num_layers = 1
    model.test_cfg.max_per_img = 20
    return model


@pytest.mark.parametrize(('detector', 'channels'), [(two_stages, [8, 16, 32, 64]), (queries, [16, 32, 64])])
def test_detectors_of_other_kinds(detector, channels):
    model = build(detector=detector(), fusion=dict(type='AddFusion', in_channels=channels))
    truth = sample()
    truth.gt_instances.bboxes = torch.tensor([[10.0, 10, 40, 40]])
    truth.ignored_instances.bboxes = torch.zeros(0, 4)
    logs = model.train_step(
        batch(truth, copy.deepcopy(truth)), OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    )
    assert torch.isfinite(logs['loss'])
    found = model.eval().test_step(batch(truth))[0].pred_instances
    assert found.bboxes.shape[1] == 4


class Shift(BaseModule):
    """An aligner that adds one number to the second sensor's features and learns it."""

    def __init__(self):
        super().__init__()
        self.amount = nn.Parameter(torch.zeros(()))

    def forward(self, first_feats, second_feats):
        return tuple(level + self.amount for level in second_feats), dict(amount=self.amount)

    def loss(self, info, data_samples):
        return dict(loss_align=(info['amount'] - len(data_samples)) ** 2)


@pytest.fixture
def _shift_registered():
    MODELS.register_module(name='Shift', module=Shift)
    yield
    MODELS._module_dict.pop('Shift')


@pytest.mark.usefixtures('_shift_registered')
def test_an_aligner_is_called_and_its_losses_are_passed_on():
    model = build(align=dict(type='Shift'))
    model.fusion.convs[0].weight.data.fill_(0.1)
    data = model.data_preprocessor(batch(sample(), sample()))
    before, info = model.fuse(data['inputs'])
    assert info['amount'] is model.align.amount
    losses = model(**data, mode='loss')
    assert losses['loss_align'] == 4
    losses['loss_align'].backward()
    assert model.align.amount.grad == -4
    model.align.amount.data.fill_(3)
    assert not torch.equal(model.fuse(data['inputs'])[0][0], before[0])
    assert build(align=dict(type='Shift'), sensors='first').align is None


@pytest.mark.usefixtures('_shift_registered')
def test_an_aligner_may_not_hide_a_loss_of_the_detector(monkeypatch):
    monkeypatch.setattr(Shift, 'loss', lambda self, info, samples: dict(loss_cls=info['amount']))
    model = build(align=dict(type='Shift'))
    with pytest.raises(ConfigError, match=r"both have the loss terms \['loss_cls'\]"):
        model(**model.data_preprocessor(batch(sample())), mode='loss')


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    data = batch(sample())
    model = build()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        logs = model.train_step(copy.deepcopy(data), OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3)))
    assert torch.isfinite(logs['loss'])
    levels = model.to(dtype).eval().extract_feat(model.data_preprocessor(data)['inputs'])
    assert levels[0].dtype == dtype


def test_the_config_is_left_alone():
    given = config()
    before = copy.deepcopy(given)
    MODELS.build(given)
    assert given == before


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(sensors='third'), "sensors is 'third'"),
        (dict(detector=dict(type='SingleStageDetector')), r"detector has \['type'\], but no backbone"),
        (dict(second_backbone='ResNet'), "second_backbone is 'ResNet', expected 'copy', 'shared' or a config"),
        (dict(fusion=None), 'fusion is missing'),
    ],
)
def test_parts_that_do_not_fit(options, message):
    with pytest.raises(ConfigError, match=message):
        build(**options)


def test_inputs_that_are_no_pair():
    model = build()
    images = torch.zeros(2, 3, SIZE, SIZE)
    with pytest.raises(InputError, match='got Tensor, expected a tuple of two batches'):
        model.extract_feat(images)
    with pytest.raises(InputError, match=r'shape \(2, 3, 64, 64\) and \(1, 3, 64, 64\)'):
        model.extract_feat((images, images[:1]))


def test_it_is_registered():
    assert MODELS.get('TwoStreamDetector') is TwoStreamDetector

"""Small mmdet detectors: a training step and a prediction of each on the operators that the bridge serves."""

import importlib
from typing import Any

import mmcv.ops
import pytest
import torch

import stn_det.mmcv_bridge  # noqa: F401  (before mmdet)

pytest.importorskip('mmdet')

from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

SIZE = 96
CLASSES = 3
NMS = {'type': 'nms', 'iou_threshold': 0.5}
TEST = {'nms_pre': 100, 'min_bbox_size': 0, 'score_thr': 0.0, 'nms': NMS, 'max_per_img': 20}
ASSIGN = {'type': 'MaxIoUAssigner', 'pos_iou_thr': 0.5, 'neg_iou_thr': 0.4, 'min_pos_iou': 0, 'ignore_iof_thr': -1}
ANCHORS = {'type': 'AnchorGenerator', 'ratios': [0.5, 1.0, 2.0], 'octave_base_scale': 4, 'scales_per_octave': 1}
CODER = {'type': 'DeltaXYWHBBoxCoder', 'target_means': [0.0] * 4, 'target_stds': [0.1, 0.1, 0.2, 0.2]}
GROUP_NORM = {'type': 'GN', 'num_groups': 4}
FOCAL = {'type': 'FocalLoss', 'use_sigmoid': True, 'gamma': 2.0, 'alpha': 0.25, 'loss_weight': 1.0}
L1 = {'type': 'L1Loss', 'loss_weight': 1.0}
GIOU = {'type': 'GIoULoss', 'loss_weight': 1.0}
CROSS_ENTROPY = {'type': 'CrossEntropyLoss', 'loss_weight': 1.0}
PREPROCESSOR = {'type': 'DetDataPreprocessor', 'mean': [0.0] * 3, 'std': [1.0] * 3, 'pad_size_divisor': 32}


@pytest.fixture(scope='module', autouse=True)
def _registered() -> None:
    register_all_modules(init_default_scope=True)


def resnet(stages: int = 4, **options: Any) -> dict[str, Any]:
    first = 4 - stages
    return {
        'type': 'ResNet',
        'depth': 18,
        'base_channels': 8,
        'out_indices': tuple(range(first, 4)),
        'norm_cfg': {'type': 'BN'},
        'zero_init_residual': False,  # with it, no gradient would reach the convolutions of a residual
        'init_cfg': None,
        **options,
    }


def fpn(stages: int = 3, levels: int = 4) -> dict[str, Any]:
    channels = [8, 16, 32, 64][4 - stages :]
    return {
        'type': 'FPN',
        'in_channels': channels,
        'out_channels': 16,
        'num_outs': levels,
        'add_extra_convs': 'on_output',
    }


def single_stage(kind: str, head: dict[str, Any], **train: Any) -> dict[str, Any]:
    return {
        'type': kind,
        'data_preprocessor': PREPROCESSOR,
        'backbone': resnet(3),
        'neck': fpn(),
        'bbox_head': {'num_classes': CLASSES, 'in_channels': 16, 'feat_channels': 16, 'stacked_convs': 1, **head},
        'train_cfg': train or None,
        'test_cfg': TEST,
    }


def retinanet() -> dict[str, Any]:
    head = {
        'type': 'RetinaHead',
        'anchor_generator': {**ANCHORS, 'strides': [8, 16, 32, 64]},
        'bbox_coder': CODER,
        'loss_cls': FOCAL,
        'loss_bbox': L1,
    }
    return single_stage(
        'RetinaNet', head, assigner=ASSIGN, sampler={'type': 'PseudoSampler'}, allowed_border=-1, pos_weight=-1
    )


def fcos() -> dict[str, Any]:
    head = {
        'type': 'FCOSHead',
        'norm_cfg': GROUP_NORM,
        'strides': [8, 16, 32, 64],
        'regress_ranges': ((-1, 32), (32, 64), (64, 128), (128, 1e8)),
        'loss_cls': FOCAL,
        'loss_bbox': GIOU,
        'loss_centerness': {**CROSS_ENTROPY, 'use_sigmoid': True},
    }
    return single_stage('FCOS', head)


def atss() -> dict[str, Any]:
    """ATSS with a deformable last tower layer and soft suppression."""
    head = {
        'type': 'ATSSHead',
        'norm_cfg': GROUP_NORM,
        'anchor_generator': {**ANCHORS, 'ratios': [1.0], 'octave_base_scale': 8, 'strides': [8, 16, 32, 64]},
        'bbox_coder': CODER,
        'loss_cls': FOCAL,
        'loss_bbox': GIOU,
        'loss_centerness': {**CROSS_ENTROPY, 'use_sigmoid': True},
    }
    model = single_stage('ATSS', head, assigner={'type': 'ATSSAssigner', 'topk': 9}, allowed_border=-1, pos_weight=-1)
    model['test_cfg'] = {**TEST, 'nms': {'type': 'soft_nms', 'iou_threshold': 0.5, 'min_score': 0.001}}
    return model


def reppoints() -> dict[str, Any]:
    """RepPoints: deformable convolutions without a mask, whose offsets the head predicts."""
    head = {
        'type': 'RepPointsHead',
        'point_feat_channels': 16,
        'num_points': 9,
        'point_strides': [8, 16, 32, 64],
        'loss_cls': FOCAL,
        'loss_bbox_init': {'type': 'SmoothL1Loss', 'beta': 0.11, 'loss_weight': 0.5},
        'loss_bbox_refine': {'type': 'SmoothL1Loss', 'beta': 0.11, 'loss_weight': 1.0},
        'transform_method': 'moment',
    }
    common = {'allowed_border': -1, 'pos_weight': -1}
    init = {'assigner': {'type': 'PointAssigner', 'scale': 4, 'pos_num': 1}, **common}
    return single_stage('RepPointsDetector', head, init=init, refine={'assigner': ASSIGN, **common})


def two_stage(kind: str, mask: bool) -> dict[str, Any]:
    def extractor(size: int) -> dict[str, Any]:
        layer = {'type': 'RoIAlign', 'output_size': size, 'sampling_ratio': 0}
        return {'type': 'SingleRoIExtractor', 'roi_layer': layer, 'out_channels': 16, 'featmap_strides': [4, 8, 16, 32]}

    roi_head: dict[str, Any] = {
        'type': 'StandardRoIHead',
        'bbox_roi_extractor': extractor(3),
        'bbox_head': {
            'type': 'Shared2FCBBoxHead',
            'in_channels': 16,
            'fc_out_channels': 32,
            'roi_feat_size': 3,
            'num_classes': CLASSES,
            'bbox_coder': CODER,
            'loss_cls': CROSS_ENTROPY,
            'loss_bbox': L1,
        },
    }
    if mask:
        roi_head['mask_roi_extractor'] = extractor(7)
        roi_head['mask_head'] = {
            'type': 'FCNMaskHead',
            'num_convs': 1,
            'in_channels': 16,
            'conv_out_channels': 16,
            'num_classes': CLASSES,
            'upsample_cfg': {'type': 'carafe', 'scale_factor': 2, 'compressed_channels': 8},
            'loss_mask': {**CROSS_ENTROPY, 'use_mask': True},
        }
    deformable = {'dcn': {'type': 'DCNv2', 'deform_groups': 1, 'fallback_on_stride': False}} if mask else {}
    sampler = {'type': 'RandomSampler', 'num': 32, 'pos_fraction': 0.5, 'neg_pos_ub': -1}
    proposals = {'nms_pre': 100, 'max_per_img': 50, 'nms': {**NMS, 'iou_threshold': 0.7}, 'min_bbox_size': 0}
    rcnn = {'assigner': ASSIGN, 'sampler': {**sampler, 'add_gt_as_proposals': True}, 'mask_size': 14, 'pos_weight': -1}
    rpn = {
        'assigner': ASSIGN,
        'sampler': {**sampler, 'add_gt_as_proposals': False},
        'allowed_border': -1,
        'pos_weight': -1,
    }
    return {
        'type': kind,
        'data_preprocessor': {**PREPROCESSOR, 'pad_mask': mask},
        'backbone': resnet(
            4, **({**deformable, 'stage_with_dcn': (False, False, True, True), 'depth': 50} if mask else {})
        ),
        'neck': {**fpn(4), 'in_channels': [32, 64, 128, 256] if mask else [8, 16, 32, 64]},
        'rpn_head': {
            'type': 'RPNHead',
            'in_channels': 16,
            'feat_channels': 16,
            'anchor_generator': {'type': 'AnchorGenerator', 'scales': [4], 'ratios': [1.0], 'strides': [4, 8, 16, 32]},
            'bbox_coder': CODER,
            'loss_cls': {**CROSS_ENTROPY, 'use_sigmoid': True},
            'loss_bbox': L1,
        },
        'roi_head': roi_head,
        'train_cfg': {'rpn': rpn, 'rpn_proposal': proposals, 'rcnn': rcnn},
        'test_cfg': {
            'rpn': proposals,
            'rcnn': {'score_thr': 0.0, 'nms': NMS, 'max_per_img': 10, 'mask_thr_binary': 0.5},
        },
    }


def deformable_detr() -> dict[str, Any]:
    attention = {
        'embed_dims': 16,
        'num_heads': 2,
        'num_levels': 3,
        'num_points': 2,
        'dropout': 0.0,
        'batch_first': True,
    }
    feedforward = {'embed_dims': 16, 'feedforward_channels': 32, 'ffn_drop': 0.0}
    own = {'embed_dims': 16, 'num_heads': 2, 'dropout': 0.0, 'batch_first': True}
    costs = [
        {'type': 'FocalLossCost', 'weight': 2.0},
        {'type': 'BBoxL1Cost', 'weight': 5.0, 'box_format': 'xywh'},
        {'type': 'IoUCost', 'iou_mode': 'giou', 'weight': 2.0},
    ]
    return {
        'type': 'DeformableDETR',
        'num_queries': 12,
        'num_feature_levels': 3,
        'with_box_refine': True,
        'as_two_stage': False,
        'data_preprocessor': PREPROCESSOR,
        'backbone': resnet(2),
        'neck': {
            'type': 'ChannelMapper',
            'in_channels': [32, 64],
            'kernel_size': 1,
            'out_channels': 16,
            'act_cfg': None,
            'norm_cfg': GROUP_NORM,
            'num_outs': 3,
        },
        'encoder': {'num_layers': 1, 'layer_cfg': {'self_attn_cfg': attention, 'ffn_cfg': feedforward}},
        'decoder': {
            'num_layers': 2,
            'return_intermediate': True,
            'post_norm_cfg': None,
            'layer_cfg': {'self_attn_cfg': own, 'cross_attn_cfg': attention, 'ffn_cfg': feedforward},
        },
        'positional_encoding': {'num_feats': 8, 'normalize': True, 'offset': -0.5},
        'bbox_head': {
            'type': 'DeformableDETRHead',
            'num_classes': CLASSES,
            'embed_dims': 16,
            'sync_cls_avg_factor': True,
            'loss_cls': FOCAL,
            'loss_bbox': L1,
            'loss_iou': GIOU,
        },
        'train_cfg': {'assigner': {'type': 'HungarianAssigner', 'match_costs': costs}},
        'test_cfg': {'max_per_img': 10},
    }


MODELS_UNDER_TEST = {
    'retinanet': retinanet,
    'fcos': fcos,
    'atss with soft-nms': atss,
    'reppoints': reppoints,
    'faster r-cnn': lambda: two_stage('FasterRCNN', mask=False),
    'mask r-cnn with dcn and carafe': lambda: two_stage('MaskRCNN', mask=True),
    'deformable detr': deformable_detr,
}


def make_batch() -> dict[str, list[Any]]:
    """Two random images with two objects each."""
    boxes = torch.tensor([[10.0, 12.0, 50.0, 60.0], [40.0, 30.0, 90.0, 80.0]])
    samples = []
    for _ in range(2):
        sample = DetDataSample(
            metainfo={'img_shape': (SIZE, SIZE), 'ori_shape': (SIZE, SIZE), 'scale_factor': (1.0, 1.0), 'img_id': 0}
        )
        masks = BitmapMasks([(torch.rand(SIZE, SIZE) > 0.5).numpy().astype('uint8') for _ in boxes], SIZE, SIZE)
        sample.gt_instances = InstanceData(bboxes=boxes.clone(), labels=torch.tensor([0, 2]), masks=masks)
        samples.append(sample)
    images = [torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8) for _ in samples]
    return {'inputs': images, 'data_samples': samples}


@pytest.mark.parametrize('name', MODELS_UNDER_TEST)
def test_detector_trains_and_predicts(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict(MODELS_UNDER_TEST[name]()))
    model.init_weights()  # until then the level embedding of Deformable DETR is whatever was in memory
    model.train()
    data = model.data_preprocessor(make_batch(), training=True)
    loss, terms = model.parse_losses(model(**data, mode='loss'))
    assert torch.isfinite(loss)
    loss.backward()
    gradients = {key: value.grad for key, value in model.named_parameters() if value.requires_grad}
    for key, gradient in gradients.items():
        assert gradient is None or torch.isfinite(gradient).all(), key
    touched = [key for key, gradient in gradients.items() if gradient is not None and gradient.abs().sum() > 0]
    assert any(key.startswith('backbone') for key in touched), terms
    if 'dcn' in name:
        assert any('conv_offset' in key for key in touched)
    if 'deformable detr' in name:
        assert any('sampling_offsets' in key for key in touched)

    model.eval()
    with torch.no_grad():
        results = model(**model.data_preprocessor(make_batch(), training=False), mode='predict')
    assert len(results) == 2
    for result in results:
        found = result.pred_instances
        assert 0 < len(found) <= 20
        assert torch.isfinite(found.bboxes).all()
        assert bool((found.scores.diff() <= 0).all())
        assert bool(((found.labels >= 0) & (found.labels < CLASSES)).all())


@pytest.mark.parametrize('part', ['models', 'datasets', 'evaluation', 'engine', 'visualization', 'apis'])
def test_every_part_of_mmdet_imports(part: str) -> None:
    importlib.import_module(f'mmdet.{part}')


def test_mmdet_holds_the_real_wrappers() -> None:
    """Where mmcv.ops cannot be imported, onedl-mmdetection defines functions of the same names that raise."""
    from mmdet.models.layers import bbox_nms
    from mmdet.models.losses import focal_loss

    assert bbox_nms.batched_nms is mmcv.ops.batched_nms
    assert focal_loss._sigmoid_focal_loss is mmcv.ops.sigmoid_focal_loss

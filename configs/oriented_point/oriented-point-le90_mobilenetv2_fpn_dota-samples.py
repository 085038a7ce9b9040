# Overfits a handful of DOTA images: a check that reader, geometry, head and metric agree, not a result.
_base_ = [
    '../_base_/models/oriented_point_mobilenetv2_fpn.py',
    '../_base_/datasets/dotav1.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/runtime/default.py',
]
classes = ('large-vehicle', 'small-vehicle')  # the only two in the samples
max_epochs = 6

model = dict(
    bbox_head=dict(num_classes=len(classes)),
    backbone=dict(
        frozen_stages=2,
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='checkpoints/mobilenet_v2.pth'),
    ),
)
train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(type='OrientedRandomCrop', crop_size=(640, 640)),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='RandomQuarterTurn', prob=0.5, turns=(1,)),
    dict(type='FilterOrientedBoxes', min_size=2),  # pixels
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='Resize', scale_factor=1.0, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
files = dict(
    data_root='data/dota_samples/',
    ann_file='labelTxt/',
    data_prefix=dict(img_path='images/'),
    metainfo=dict(classes=classes),
)
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=50,  # five images: 250 crops an epoch
        dataset=dict(type='DOTADataset', **files, filter_cfg=dict(filter_empty_gt=True), pipeline=train_pipeline),
    ),
)
val_dataloader = dict(dataset=dict(**files, pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
auto_scale_lr = dict(base_batch_size=2)
optim_wrapper = dict(type='AutocastOptimWrapper', dtype='bfloat16')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        eta_min=5e-5,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [dict(type='FiniteLossHook'), dict(type='ChannelsLastHook'), dict(type='FoldNormHook')]

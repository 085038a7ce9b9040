# Overfits a handful of DOTA images: a check that reader, geometry, matching and metric agree, not a result.
_base_ = [
    '../_base_/models/rotated_dino_mobilenetv2.py',
    '../_base_/datasets/dotav1.py',
    '../_base_/schedules/detr_12e.py',
    '../_base_/runtime/default.py',
]
classes = ('large-vehicle', 'small-vehicle')  # the only two in the samples
max_epochs = 8

model = dict(
    num_queries=500,  # 290 objects in one image
    bbox_head=dict(num_classes=len(classes)),
    backbone=dict(
        frozen_stages=2,  # the layers before stride 8: costly to train on a CPU
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='checkpoints/mobilenet_v2.pth'),
    ),
    test_cfg=dict(max_per_img=500),
)
# Whole images, as in the test: a centre is a fraction of the image, so a crop is another task.
train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(type='Resize', scale_factor=1.0, keep_ratio=True),
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
    batch_size=1,  # their sizes differ
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=50,  # five images: 250 steps an epoch
        dataset=dict(type='DOTADataset', **files, filter_cfg=dict(filter_empty_gt=True), pipeline=train_pipeline),
    ),
)
val_dataloader = dict(dataset=dict(**files, pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
auto_scale_lr = dict(base_batch_size=1)
optim_wrapper = dict(optimizer=dict(lr=4e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', begin=0, end=max_epochs, by_epoch=True, milestones=[6], gamma=0.1),
]
custom_hooks = [dict(type='FiniteLossHook'), dict(type='FoldNormHook')]

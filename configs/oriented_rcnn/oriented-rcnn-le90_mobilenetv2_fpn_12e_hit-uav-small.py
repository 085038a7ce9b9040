# HIT-UAV on a CPU, from ImageNet weights, on the 600-image subset, enlarged to 800 x 640.
_base_ = [
    '../_base_/models/oriented_rcnn_mobilenetv2_fpn.py',
    '../_base_/datasets/hit_uav.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/runtime/default.py',
]
max_epochs = 12
scale = (800, 640)  # a person is 19 x 11 pixels at 640 x 512

train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='rbox'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    # thermal images are grey: no hue, no saturation
    dict(type='PhotoMetricDistortion', saturation_range=(1, 1), hue_delta=0),
    dict(type='FilterOrientedBoxes', min_size=2),  # pixels
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    # after Resize, so that the truth stays in the frame of the original image
    dict(type='LoadAnnotations', with_bbox=True, box_type='rbox'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

model = dict(
    backbone=dict(
        frozen_stages=2,  # the layers before stride 8: costly on a CPU
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='checkpoints/mobilenet_v2.pth'),
    ),
    rpn_head=dict(anchor_generator=dict(scales=[1.6, 2.5])),  # strides: from 13 pixels, people are small
    roi_head=dict(bbox_head=dict(num_classes=4)),
    # bicycles are parked so tightly that their boxes overlap
    test_cfg=dict(rcnn=dict(nms=dict(iou_threshold=0.3))),
)
train_dataloader = dict(batch_size=4, dataset=dict(img_list='small_train.txt', pipeline=train_pipeline))
val_dataloader = dict(batch_size=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=max_epochs, val_interval=6)
auto_scale_lr = dict(base_batch_size=4)
custom_hooks = [dict(type='FiniteLossHook'), dict(type='FoldNormHook')]

# HIT-UAV on a CPU, from ImageNet weights, on the 600-image subset, enlarged to 800 x 640.
_base_ = [
    '../_base_/models/oriented_rcnn_mobilenetv2_fpn.py',
    '../_base_/datasets/hit_uav_small.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/runtime/default.py',
]
max_epochs = 12

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
train_cfg = dict(max_epochs=max_epochs, val_interval=6)
auto_scale_lr = dict(base_batch_size=4)
custom_hooks = [dict(type='FiniteLossHook'), dict(type='FoldNormHook')]

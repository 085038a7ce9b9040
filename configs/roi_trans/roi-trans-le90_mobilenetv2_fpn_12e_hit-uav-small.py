# HIT-UAV on a CPU, from ImageNet weights, on the 600-image subset, enlarged to 800 x 640.
_base_ = [
    '../_base_/models/roi_trans_mobilenetv2_fpn.py',
    '../_base_/datasets/hit_uav_small.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/runtime/default.py',
]
max_epochs = 12

head = dict(
    type='RotatedShared2FCBBoxHead', in_channels=96, fc_out_channels=256, num_classes=4, reg_class_agnostic=True
)
turn = dict(type='DeltaXYWHTHBBoxCoder', norm_factor=2, edge_swap=True, target_stds=(0.1, 0.1, 0.2, 0.2, 1))
refine = dict(type='DeltaXYWHTRBBoxCoder', edge_swap=True, proj_xy=True, target_stds=(0.05, 0.05, 0.1, 0.1, 0.5))
model = dict(
    backbone=dict(
        frozen_stages=2,  # the layers before stride 8: costly on a CPU
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='checkpoints/mobilenet_v2.pth'),
    ),
    rpn_head=dict(anchor_generator=dict(scales=[1.6, 2.5])),  # strides: from 13 pixels, people are small
    roi_head=dict(bbox_head=[dict(head, bbox_coder=turn), dict(head, bbox_coder=refine)]),
    # bicycles are parked so tightly that their boxes overlap
    test_cfg=dict(rcnn=dict(nms=dict(iou_threshold=0.3))),
)
train_cfg = dict(max_epochs=max_epochs, val_interval=6)
auto_scale_lr = dict(base_batch_size=4)
custom_hooks = [dict(type='FiniteLossHook'), dict(type='FoldNormHook')]

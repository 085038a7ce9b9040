# HIT-UAV at 640 x 512 on a CPU, from ImageNet weights, on the 600-image subset.
_base_ = [
    '../_base_/models/oriented_point_mobilenetv2_fpn.py',
    '../_base_/datasets/hit_uav.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/runtime/default.py',
]
max_epochs = 24

model = dict(
    bbox_head=dict(num_classes=4),
    backbone=dict(init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='checkpoints/mobilenet_v2.pth')),
)
optim_wrapper = dict(type='AutocastOptimWrapper', dtype='bfloat16')
custom_hooks = [dict(type='FiniteLossHook'), dict(type='ChannelsLastHook')]

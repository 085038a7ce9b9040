# The detector without a spatial transformer, on scenes that have a right way up: what the others are compared with.
_base_ = [
    '../_base_/models/oriented_point_mobilenetv2_fpn.py',
    '../_base_/datasets/upright_scenes.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/runtime/default.py',
]
model = dict(
    bbox_head=dict(num_classes=6),
    backbone=dict(
        frozen_stages=2,  # the layers before stride 8: costly to train on a CPU
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='checkpoints/mobilenet_v2.pth'),
    ),
)
optim_wrapper = dict(type='AutocastOptimWrapper', dtype='bfloat16')
custom_hooks = [dict(type='FiniteLossHook'), dict(type='ChannelsLastHook'), dict(type='FoldNormHook')]
train_cfg = dict(val_interval=4)
auto_scale_lr = dict(base_batch_size=4)

# Rotated Deformable DETR on thermal images from a drone, on a CPU: the 600-image subset of HIT-UAV, at 800 x 640.
_base_ = [
    '../_base_/models/rotated_deformable_detr_mobilenetv2.py',
    '../_base_/datasets/hit_uav_small.py',
    '../_base_/schedules/detr_12e.py',
    '../_base_/runtime/default.py',
]
model = dict(
    with_box_refine=True,
    as_two_stage=True,
    bbox_head=dict(num_classes=4),
    backbone=dict(
        frozen_stages=2,  # the layers before stride 8: costly to train on a CPU
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='checkpoints/mobilenet_v2.pth'),
    ),
)
custom_hooks = [dict(type='FiniteLossHook'), dict(type='FoldNormHook')]
train_cfg = dict(val_interval=6)
# The rate is the published one, for 8 images a step. It is not lowered for 4: steps are few.
auto_scale_lr = dict(base_batch_size=8)

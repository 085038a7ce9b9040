# Rotated Deformable DETR on the scenes of the demo, small enough to train on a CPU.
_base_ = [
    '../_base_/models/rotated_deformable_detr_mobilenetv2.py',
    '../_base_/datasets/scenes.py',
    '../_base_/schedules/detr_12e.py',
    '../_base_/runtime/default.py',
]
model = dict(
    with_box_refine=True,
    as_two_stage=True,
    bbox_head=dict(num_classes=6),
    backbone=dict(
        frozen_stages=2,  # the layers before stride 8: costly to train on a CPU
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='checkpoints/mobilenet_v2.pth'),
    ),
)
custom_hooks = [dict(type='FiniteLossHook'), dict(type='FoldNormHook')]
train_dataloader = dict(batch_size=2)
# The rate is the published one, for 8 images a step. It is not lowered for 2: steps are few.
auto_scale_lr = dict(base_batch_size=8)

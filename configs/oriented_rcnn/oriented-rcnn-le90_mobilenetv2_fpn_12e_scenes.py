# Generated scenes on a CPU, from ImageNet weights: the data and the schedule of the demo.
_base_ = [
    '../_base_/models/oriented_rcnn_mobilenetv2_fpn.py',
    '../_base_/datasets/scenes.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/runtime/default.py',
]
max_epochs = 12

model = dict(
    roi_head=dict(bbox_head=dict(num_classes=6)),
    backbone=dict(
        frozen_stages=2,  # the layers before stride 8: costly to train on a CPU
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='checkpoints/mobilenet_v2.pth'),
    ),
)
custom_hooks = [dict(type='FiniteLossHook'), dict(type='FoldNormHook')]
train_dataloader = dict(batch_size=2)
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
auto_scale_lr = dict(base_batch_size=2)

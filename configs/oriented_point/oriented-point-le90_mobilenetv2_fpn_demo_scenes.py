# The demo: generated scenes, a CPU, a quarter of an hour. `stn-det demo` sets data,
# weights, image size, seed and epochs (8, not 12).
_base_ = [
    '../_base_/models/oriented_point_mobilenetv2_fpn.py',
    '../_base_/datasets/scenes.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/runtime/default.py',
]
max_epochs = 12

model = dict(
    bbox_head=dict(num_classes=6),
    backbone=dict(
        frozen_stages=2,  # the layers before stride 8: costly to train on a CPU
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='checkpoints/mobilenet_v2.pth'),
    ),
)
# bfloat16 and channels-last, both together, for CPUs with AVX512-BF16
optim_wrapper = dict(type='AutocastOptimWrapper', dtype='bfloat16')
custom_hooks = [dict(type='FiniteLossHook'), dict(type='ChannelsLastHook'), dict(type='FoldNormHook')]
train_dataloader = dict(batch_size=2)  # twice the steps of batches of 4 for the same images
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
auto_scale_lr = dict(base_batch_size=2)

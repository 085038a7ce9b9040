# DOTA-v1.0, 1024-pixel tiles, single scale, flips only, the schedule as published. Not run by us: no figure is claimed.
_base_ = [
    '../_base_/models/s2anet_r50_fpn.py',
    '../_base_/datasets/dotav1.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/runtime/default.py',
]
max_epochs = 12
base_lr = 0.0025  # for 2 images on one GPU; 0.01 for 8

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=base_lr, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=35.0, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=max_epochs, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=2)

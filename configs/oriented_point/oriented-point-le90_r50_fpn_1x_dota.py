# DOTA-v1.0, 1024-pixel tiles, single scale, flips only. Not run by us yet: no figure is claimed.
_base_ = [
    '../_base_/models/oriented_point_r50_fpn.py',
    '../_base_/datasets/dotav1.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/runtime/default.py',
]
# AdamW at 1e-4 for 8 images, backbone a tenth, as the DETR family trains ResNet-50 on DOTA
base_lr = 1e-4
optim_wrapper = dict(
    optimizer=dict(lr=base_lr, weight_decay=1e-4), paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1)))
)

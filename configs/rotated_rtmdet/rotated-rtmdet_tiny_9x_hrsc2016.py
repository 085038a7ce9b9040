# HRSC2016, size tiny, 36 epochs of three rounds each, free rotation. Not run by us yet: no figure is claimed.
_base_ = [
    '../_base_/models/rotated_rtmdet_cspnext_pafpn.py',
    '../_base_/datasets/hrsc2016.py',
    '../_base_/schedules/adamw_36e_flat_cosine.py',
    '../_base_/runtime/default.py',
]
base_lr = 2e-3  # for 8 images, as published for this small dataset
model = dict(
    backbone=dict(
        deepen_factor=0.167,
        widen_factor=0.375,
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmdetection/v3.0/rtmdet/cspnext_rsb_pretrain/cspnext-tiny_imagenet_600e.pth'
        ),
    ),
    neck=dict(in_channels=[96, 192, 384], out_channels=96, num_csp_blocks=1),
    bbox_head=dict(num_classes=1, in_channels=96, feat_channels=96, bbox_coder=dict(exp_on_reg=False)),
)
train_dataloader = dict(batch_size=8, num_workers=8)  # for one GPU; with n of them 8 / n
optim_wrapper = dict(optimizer=dict(lr=base_lr))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5, by_epoch=False, begin=0, end=1000),
    dict(
        type='CosineAnnealingLR',
        eta_min=base_lr * 0.05,
        begin=18,
        end=36,
        T_max=18,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    dict(type='FiniteLossHook'),
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002, update_buffers=True, priority=49),
]

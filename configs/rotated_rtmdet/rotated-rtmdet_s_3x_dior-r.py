# DIOR-R, size s, 36 epochs, flips only. Not run by us yet: no figure is claimed.
_base_ = [
    '../_base_/models/rotated_rtmdet_cspnext_pafpn.py',
    '../_base_/datasets/dior_r.py',
    '../_base_/schedules/adamw_36e_flat_cosine.py',
    '../_base_/runtime/default.py',
]
model = dict(
    backbone=dict(
        deepen_factor=0.33,
        widen_factor=0.5,
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmdetection/v3.0/rtmdet/cspnext_rsb_pretrain/cspnext-s_imagenet_600e.pth'
        ),
    ),
    neck=dict(in_channels=[128, 256, 512], out_channels=128, num_csp_blocks=1),
    bbox_head=dict(num_classes=20, in_channels=128, feat_channels=128, bbox_coder=dict(exp_on_reg=False)),
)
train_dataloader = dict(batch_size=8, num_workers=8)  # for one GPU; with n of them 8 / n
custom_hooks = [
    dict(type='FiniteLossHook'),
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002, update_buffers=True, priority=49),
]

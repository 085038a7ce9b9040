# RTMDet-R with a quarter of the channels, small enough for a CPU; generated scenes. The backbone starts from nothing.
_base_ = [
    '../_base_/models/rotated_rtmdet_cspnext_pafpn.py',
    '../_base_/datasets/scenes.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/runtime/default.py',
]
max_epochs = 12
base_lr = 1e-3  # weights that start from nothing
model = dict(
    backbone=dict(deepen_factor=0.167, widen_factor=0.25, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256], out_channels=64, num_csp_blocks=1),
    bbox_head=dict(
        num_classes=6,
        in_channels=64,
        feat_channels=64,
        bbox_coder=dict(angle_coder=dict(type='ACMCoder', dual_freq=False)),
        loss_angle=dict(type='MSELoss', loss_weight=0.5),
    ),
)
# bfloat16 and channels-last, both together, for CPUs with AVX512-BF16
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    dtype='bfloat16',
    optimizer=dict(lr=base_lr),
    paramwise_cfg=dict(bypass_duplicate=True),  # convolutions that levels share
)
custom_hooks = [dict(type='FiniteLossHook'), dict(type='ChannelsLastHook')]
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
auto_scale_lr = dict(base_batch_size=4)

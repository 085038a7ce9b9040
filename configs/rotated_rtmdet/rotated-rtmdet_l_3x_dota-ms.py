# As rotated-rtmdet_l_3x_dota.py, on tiles of three scales. Not run by us yet: no figure is claimed.
_base_ = [
    '../_base_/models/rotated_rtmdet_cspnext_pafpn.py',
    '../_base_/datasets/dotav1_ms.py',
    '../_base_/schedules/adamw_36e_flat_cosine.py',
    '../_base_/runtime/default.py',
]
train_dataloader = dict(batch_size=8, num_workers=8)  # for one GPU; with n of them 8 / n
custom_hooks = [
    dict(type='FiniteLossHook'),
    # before the hooks of normal priority, so that checkpoints and evaluation see the averaged weights
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002, update_buffers=True, priority=49),
]

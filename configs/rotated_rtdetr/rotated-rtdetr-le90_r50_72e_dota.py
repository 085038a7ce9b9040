# DOTA-v1.0, 1024-pixel tiles, single scale, flips and mosaics with quarter turns, 72 epochs, the last 12 without
# mosaics, averaged weights. Others publish 80.1 AP50 (RiO-DETR with ResNet-50, https://arxiv.org/abs/2603.09411) and
# 78.45 (O2-RTDETR with ResNet-50, https://github.com/wokaikaixinxin/ai4rs). Not trained by us: no figure is claimed.
_base_ = [
    '../_base_/models/rotated_rtdetr_r50.py',
    '../_base_/datasets/dotav1_mosaic.py',
    '../_base_/schedules/detr_72e_flat_cosine.py',
    '../_base_/runtime/default.py',
]
train_dataloader = dict(batch_size=4, num_workers=4)  # on each of 4 GPUs: the rate is for 16 images a step
custom_hooks = [
    dict(type='FiniteLossHook'),
    dict(type='CleanEpochsHook', num_last_epochs=12),
    # before the hooks of normal priority, so that checkpoints and evaluation see the averaged weights
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0001, update_buffers=True, priority=49),
]
auto_scale_lr = dict(base_batch_size=16)

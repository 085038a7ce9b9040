# DOTA-v1.0, 1024-pixel tiles, single scale, flips only, 50 epochs: refinement and two stages, as in Deformable DETR,
# https://arxiv.org/abs/2010.04159. Others publish 69.55 AP50 (https://github.com/wokaikaixinxin/ai4rs) and 70.33
# (https://github.com/SIAnalytics/RHINO), with other costs and losses. Not trained by us: no figure is claimed.
_base_ = [
    '../_base_/models/rotated_deformable_detr_r50.py',
    '../_base_/datasets/dotav1.py',
    '../_base_/schedules/detr_50e.py',
    '../_base_/runtime/default.py',
]
optim_wrapper = dict(
    paramwise_cfg=dict(
        # as in the paper, what says where to look learns slowly
        custom_keys=dict(sampling_offsets=dict(lr_mult=0.1), reference_points=dict(lr_mult=0.1))
    )
)
train_dataloader = dict(batch_size=2)  # on each of 4 GPUs: the rate is for 8 images a step
auto_scale_lr = dict(base_batch_size=8)

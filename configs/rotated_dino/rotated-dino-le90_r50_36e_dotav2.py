# DOTA-v2.0, 1024-pixel tiles, single scale, flips only, 36 epochs: the recipe of RHINO, whose authors publish
# 59.26 AP50 (https://github.com/SIAnalytics/RHINO). Not trained by us: no figure is claimed.
_base_ = [
    '../_base_/models/rotated_dino_r50.py',
    '../_base_/datasets/dotav2.py',
    '../_base_/schedules/detr_36e.py',
    '../_base_/runtime/default.py',
]
model = dict(bbox_head=dict(num_classes=18))
train_dataloader = dict(batch_size=2)  # on each of 4 GPUs: the rate is for 8 images a step
auto_scale_lr = dict(base_batch_size=8)

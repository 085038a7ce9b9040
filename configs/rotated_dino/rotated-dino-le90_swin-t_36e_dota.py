# As rotated-dino-le90_r50_36e_dota.py with Swin-T. The authors of RHINO publish 79.42 AP50 for this backbone
# (https://github.com/SIAnalytics/RHINO). Not trained by us: no figure is claimed.
_base_ = [
    '../_base_/models/rotated_dino_r50.py',
    '../_base_/models/backbone_swin_t.py',
    '../_base_/datasets/dotav1.py',
    '../_base_/schedules/detr_36e.py',
    '../_base_/runtime/default.py',
]
model = dict(
    backbone=dict(_delete_=True, **_base_.backbone),
    neck=dict(in_channels=_base_.backbone_channels),
)
train_dataloader = dict(batch_size=2)  # on each of 4 GPUs: the rate is for 8 images a step
auto_scale_lr = dict(base_batch_size=8)

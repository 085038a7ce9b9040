# DIOR-R, 800-pixel images, flips only, 36 epochs: the recipe of RHINO, https://arxiv.org/abs/2305.07598. We know of no
# figure at first hand for ResNet-50. Not trained by us: no figure is claimed.
_base_ = [
    '../_base_/models/rotated_dino_r50.py',
    '../_base_/datasets/dior_r.py',
    '../_base_/schedules/detr_36e.py',
    '../_base_/runtime/default.py',
]
model = dict(bbox_head=dict(num_classes=20))
train_dataloader = dict(batch_size=2)  # on each of 4 GPUs: the rate is for 8 images a step
auto_scale_lr = dict(base_batch_size=8)

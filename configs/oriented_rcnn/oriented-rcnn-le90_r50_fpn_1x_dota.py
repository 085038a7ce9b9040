# DOTA-v1.0, 1024-pixel tiles, single scale, flips only. Not run by us: others publish 75.69 mAP, see README.md.
_base_ = [
    '../_base_/models/oriented_rcnn_r50_fpn.py',
    '../_base_/datasets/dotav1.py',
    '../_base_/schedules/sgd_1x.py',
    '../_base_/runtime/default.py',
]
auto_scale_lr = dict(base_batch_size=2)

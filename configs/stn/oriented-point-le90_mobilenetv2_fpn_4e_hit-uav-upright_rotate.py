# The same with images turned by any angle in training.
_base_ = './oriented-point-le90_mobilenetv2_fpn_4e_hit-uav-upright.py'
train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='rbox'),
    dict(type='Resize', scale=(640, 512), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='OrientedRandomRotate', prob=1.0, angle_range=180, border_value=(104, 116, 124)),  # ImageNet's mean, BGR
    dict(type='FilterOrientedBoxes', min_size=2),  # pixels
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# Both: images turned by any angle in training, and a transformer that is told by how much they were turned.
_base_ = './stn-turn_oriented-point-le90_mobilenetv2_fpn_4e_hit-uav-upright.py'
# no margin: the detector knows turned images, and no turn is likelier than another
model = dict(transformer=dict(orientation=dict(margin=0.0)), signals=[dict(type='MetadataSignal')])
custom_hooks = [hook for hook in _base_.custom_hooks if hook['type'] != 'WarpWarmupHook']  # they do not stand right
train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='rbox'),
    dict(type='Resize', scale=(640, 512), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='SetCamera', north=0.0),
    dict(type='OrientedRandomRotate', prob=1.0, angle_range=180, border_value=(104, 116, 124)),  # ImageNet's mean, BGR
    dict(type='FilterOrientedBoxes', min_size=2),  # pixels
    dict(type='PackDetInputs', meta_keys=('img_path', 'img_shape', 'ori_shape', 'camera', 'homography_matrix')),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

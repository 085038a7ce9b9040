# The same with images turned by any angle in training: what a spatial transformer has to stand comparison with.
_base_ = './oriented-point-le90_mobilenetv2_fpn_12e_upright-scenes.py'
train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(type='OrientedRandomRotate', prob=1.0, angle_range=180, border_value=(104, 116, 124)),  # ImageNet's mean, BGR
    dict(type='FilterOrientedBoxes', min_size=2),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# The same with the second image shifted at random in training: what an aligner has to stand comparison with.
# Run by us in benchmarks/sensor_shift.py alone, on images of 320 pixels.
_base_ = './two-stream-le90_mobilenetv2_fpn_12e_scene-pairs.py'
train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadSecondImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(type='Resize', scale=(512, 512), keep_ratio=True),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='RandomQuarterTurn', prob=0.5, turns=(1,)),
    dict(type='FilterOrientedBoxes', min_size=2),  # pixels
    dict(type='JitterSecond', shift=24),  # pixels at most, in any direction
    dict(type='WarpSecondLikeFirst', pad_val=(104, 116, 124)),  # ImageNet's mean, BGR
    dict(type='PackPairedInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

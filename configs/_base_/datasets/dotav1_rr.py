# DOTA 1.0 as in dotav1.py, with free rotation in training.
_base_ = './dotav1.py'

train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    # storage tanks and roundabouts are labelled upright: their images turn by quarters
    dict(type='OrientedRandomRotate', prob=0.5, angle_range=180, rect_obj_labels=[9, 11]),
    dict(type='FilterOrientedBoxes', min_size=2),  # pixels
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

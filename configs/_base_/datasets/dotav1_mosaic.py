# DOTA 1.0 as in dotav1.py; half of the training images are mosaics of four tiles, each shrunk to 512 pixels and turned
# by its own multiple of 90 degrees. CleanEpochsHook leaves the mosaics out in the last epochs.
_base_ = './dotav1.py'

load_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
]
train_pipeline = [
    dict(type='OrientedMosaic', img_scale=(512, 512), prob=0.5),
    dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='FilterOrientedBoxes', min_size=2),  # pixels
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='MultiImageMixDataset',
        dataset=dict(
            type=_base_.dataset_type,
            data_root=_base_.data_root,
            ann_file='train/labelTxt/',
            data_prefix=dict(img_path='train/images/'),
            filter_cfg=dict(filter_empty_gt=True),
            pipeline=load_pipeline,
        ),
        pipeline=train_pipeline,
    )
)

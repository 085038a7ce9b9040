# HRSC2016 (ships, one class), https://doi.org/10.5220/0006120603240331. Trained on train and val, tested on test.
# Layout: FullDataSet/AllImages, FullDataSet/Annotations, ImageSets/{trainval,test}.txt.
dataset_type = 'HRSCDataset'
data_root = 'data/hrsc2016/'

train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(type='Resize', scale=(800, 800), keep_ratio=True),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='OrientedRandomRotate', prob=0.5, angle_range=180),
    dict(type='FilterOrientedBoxes', min_size=2),  # pixels
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='Resize', scale=(800, 800), keep_ratio=True),
    # after Resize, so that the truth stays in the frame of the original image
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='RepeatDataset',
        times=3,  # 36 epochs are then 108, the schedule of the field for so few images
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            ann_file='FullDataSet/Annotations/',
            img_list='ImageSets/trainval.txt',
            data_prefix=dict(img_path='FullDataSet/AllImages/'),
            filter_cfg=dict(filter_empty_gt=True),
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='FullDataSet/Annotations/',
        img_list='ImageSets/test.txt',
        data_prefix=dict(img_path='FullDataSet/AllImages/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='DOTAMetric')
test_evaluator = val_evaluator

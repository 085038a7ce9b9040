# DIOR-R (20 classes), images of 800 x 800 pixels, https://arxiv.org/abs/2110.01931. Trained on train and val, tested on
# test, as in the field. Layout: JPEGImages-trainval, JPEGImages-test, 'Annotations/Oriented Bounding Boxes',
# ImageSets/Main/{train,val,test}.txt.
dataset_type = 'DIORDataset'
data_root = 'data/dior/'
ann_file = 'Annotations/Oriented Bounding Boxes/'

train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(type='Resize', scale=(800, 800), keep_ratio=True),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='FilterOrientedBoxes', min_size=2),  # pixels
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='Resize', scale=(800, 800), keep_ratio=True),
    # after Resize, so that the truth stays in the frame of the original image, and as labelled
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
trained_on = dict(
    type=dataset_type,
    data_root=data_root,
    ann_file=ann_file,
    data_prefix=dict(img_path='JPEGImages-trainval/'),
    filter_cfg=dict(filter_empty_gt=True),
    pipeline=train_pipeline,
)

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(img_list='ImageSets/Main/train.txt', **trained_on),
            dict(img_list='ImageSets/Main/val.txt', **trained_on),
        ],
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
        ann_file=ann_file,
        img_list='ImageSets/Main/test.txt',
        data_prefix=dict(img_path='JPEGImages-test/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='DOTAMetric')
test_evaluator = val_evaluator

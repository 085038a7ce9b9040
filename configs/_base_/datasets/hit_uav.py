# HIT-UAV: thermal images from a drone, 640 x 512, CC BY 4.0, https://doi.org/10.1038/s41597-023-02066-6
# Layout: images/train, images/val, annotations/train.json, annotations/val.json. For a short run on a CPU give the
# datasets of the loaders img_list='small_train.txt' and img_list='small_val.txt' (one image name a line).
dataset_type = 'RotatedCocoDataset'
data_root = 'data/hit_uav/'
metainfo = dict(classes=('Person', 'Car', 'Bicycle', 'OtherVehicle'))
ignore_classes = ('DontCare',)

train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='rbox'),
    dict(type='Resize', scale=(640, 512), keep_ratio=True),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='FilterOrientedBoxes', min_size=2),  # pixels
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='Resize', scale=(640, 512), keep_ratio=True),
    # after Resize, so that the truth stays in the frame of the original image
    dict(type='LoadAnnotations', with_bbox=True, box_type='rbox'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img_path='images/train/'),
        metainfo=metainfo,
        ignore_classes=ignore_classes,
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
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
        ann_file='annotations/val.json',
        data_prefix=dict(img_path='images/val/'),
        metainfo=metainfo,
        ignore_classes=ignore_classes,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='DOTAMetric')
test_evaluator = val_evaluator

# Generated overhead scenes seen by two sensors, the second one misaligned: six classes, 512-pixel images.
# Layout: train/{images,images_second,labelTxt,meta} and val/..., as tools/data/make_scenes.py --second infrared writes.
dataset_type = 'DOTADataset'
data_root = 'data/scene_pairs/'
metainfo = dict(classes=('plane', 'ship', 'small-vehicle', 'large-vehicle', 'storage-tank', 'tennis-court'))

train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadSecondImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(type='Resize', scale=(512, 512), keep_ratio=True),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='RandomQuarterTurn', prob=0.5, turns=(1,)),  # with the flips: all eight orientations, equally often
    dict(type='FilterOrientedBoxes', min_size=2),  # pixels
    dict(type='WarpSecondLikeFirst'),  # after everything that moves the first image
    dict(type='PackPairedInputs'),
]
test_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadSecondImageFromFile'),
    dict(type='Resize', scale=(512, 512), keep_ratio=True),
    dict(type='WarpSecondLikeFirst'),
    # After Resize, so that the truth stays in the frame of the original image, and as labelled.
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='PackPairedInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='train/labelTxt/',
        data_prefix=dict(
            img_path='train/images/', second_img_path='train/images_second/', second_meta_path='train/meta/'
        ),
        metainfo=metainfo,
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
        ann_file='val/labelTxt/',
        data_prefix=dict(img_path='val/images/', second_img_path='val/images_second/', second_meta_path='val/meta/'),
        metainfo=metainfo,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='DOTAMetric')
test_evaluator = val_evaluator

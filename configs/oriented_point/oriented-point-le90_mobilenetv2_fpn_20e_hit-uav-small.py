# HIT-UAV on a CPU, from ImageNet weights, on the 600-image subset: 512-pixel crops of enlarged images.
_base_ = ['./oriented-point-le90_mobilenetv2_fpn_4e_hit-uav-small.py']
max_epochs = 20
base_lr = 1e-3

train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='rbox'),
    dict(type='RandomResize', scale=(640, 512), ratio_range=(1.1, 1.8), keep_ratio=True),  # tested at 1.5
    dict(type='OrientedRandomCrop', crop_size=(512, 512), allow_negative_crop=True),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='RandomQuarterTurn', prob=0.5, turns=(1,)),  # with the flips: all eight orientations
    # thermal images are grey: no hue, no saturation
    dict(type='PhotoMetricDistortion', saturation_range=(1, 1), hue_delta=0),
    dict(type='FilterOrientedBoxes', min_size=2),  # pixels
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='Resize', scale=(960, 768), keep_ratio=True),  # persons are 19 x 11 pixels at 640 x 512
    # after Resize, so that the truth stays in the frame of the original image
    dict(type='LoadAnnotations', with_bbox=True, box_type='rbox'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=max_epochs, val_interval=10)
auto_scale_lr = dict(base_batch_size=2)
optim_wrapper = dict(optimizer=dict(lr=base_lr))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        eta_min=base_lr * 0.05,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]

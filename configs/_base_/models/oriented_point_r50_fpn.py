# ResNet-50, FPN on strides 8 to 128, one-stage oriented head: the usual size for DOTA on GPUs.
num_classes = 15

model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],  # ImageNet, RGB, 0-255
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='ResNet',
        depth=50,
        num_stages=4,
        out_indices=(1, 2, 3),
        frozen_stages=1,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=True,
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=dict(type='FPN', in_channels=[512, 1024, 2048], out_channels=256, add_extra_convs='on_output', num_outs=5),
    bbox_head=dict(
        type='OrientedPointHead',
        num_classes=num_classes,
        in_channels=256,
        feat_channels=256,
        stacked_convs=4,
        strides=(8, 16, 32, 64, 128),
        norm_cfg=dict(type='GN', num_groups=32, requires_grad=True),
        bbox_coder=dict(type='OrientedPointCoder', base_side=2.0),  # strides
        assigner=dict(type='RotatedTaskAlignedAssigner', topk=13, alpha=1.0, beta=6.0),  # TOOD's values
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type='GaussianBoxLoss', distance='kld', loss_weight=1.0),
        # Gaussians cannot see how a square is turned; the exact IoU can
        loss_iou=dict(type='OrientedIoULoss', mode='iou', loss_weight=2.0),
    ),
    test_cfg=dict(nms_pre=2000, score_thr=0.05, nms=dict(type='nms_rotated', iou_threshold=0.1), max_per_img=2000),
)

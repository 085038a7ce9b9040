# MobileNetV2 (strides 8, 16, 32), a narrow FPN, one-stage oriented head: small enough to train on a CPU.
# the last layer of this backbone lies behind the last level and has no gradient: DistributedDataParallel would stop
find_unused_parameters = True
num_classes = 15

model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],  # ImageNet, RGB, 0-255
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,  # coarsest stride
    ),
    backbone=dict(
        type='MobileNetV2',
        out_indices=(2, 4, 6),
        norm_eval=True,  # batches of 2 to 4 are too small for statistics; FoldNormHook makes fixed ones cheap
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://mmdet/mobilenet_v2'),
    ),
    neck=dict(type='FPN', in_channels=[32, 96, 320], out_channels=96, num_outs=3),
    bbox_head=dict(
        type='OrientedPointHead',
        num_classes=num_classes,
        in_channels=96,
        feat_channels=96,
        stacked_convs=2,
        strides=(8, 16, 32),
        bbox_coder=dict(type='OrientedPointCoder', base_side=2.0),  # strides
        assigner=dict(type='RotatedTaskAlignedAssigner', topk=13, alpha=1.0, beta=6.0),  # TOOD's values
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type='GaussianBoxLoss', distance='kld', loss_weight=1.0),
        # Gaussians cannot see how a square is turned; the exact IoU can
        loss_iou=dict(type='OrientedIoULoss', mode='iou', loss_weight=2.0),
    ),
    test_cfg=dict(nms_pre=2000, score_thr=0.05, nms=dict(type='nms_rotated', iou_threshold=0.1), max_per_img=2000),
)

# MobileNetV2 (strides 8, 16, 32), a narrow FPN, Oriented R-CNN: small enough to train on a CPU.
# Stride 4 is left out: its map would have three times the cells of all the others together.
# the last layer of this backbone lies behind the last level and has no gradient: DistributedDataParallel would stop
find_unused_parameters = True
num_classes = 15
strides = [8, 16, 32]

model = dict(
    type='TwoStageDetector',
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
    rpn_head=dict(
        type='OrientedRPNHead',
        in_channels=96,
        feat_channels=96,
        anchor_generator=dict(
            type='AnchorGenerator',
            scales=[2.5, 4],  # strides: squares of 20 to 128 pixels
            ratios=[0.5, 1.0, 2.0],
            strides=strides,
        ),
        bbox_coder=dict(type='MidpointOffsetCoder', target_stds=[1.0, 1.0, 1.0, 1.0, 0.5, 0.5]),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type='SmoothL1Loss', beta=1 / 9, loss_weight=1.0),
    ),
    roi_head=dict(
        type='OrientedStandardRoIHead',
        bbox_roi_extractor=dict(
            type='RotatedSingleRoIExtractor',
            roi_layer=dict(type='RoIAlignRotated', out_size=7, sample_num=2, clockwise=True),
            out_channels=96,
            featmap_strides=strides,
            finest_scale=28,  # pixels; twice that is a bin a cell of stride 8
        ),
        bbox_head=dict(
            type='RotatedShared2FCBBoxHead',
            in_channels=96,
            fc_out_channels=256,
            roi_feat_size=7,
            num_classes=num_classes,
            reg_class_agnostic=True,
            bbox_coder=dict(
                type='DeltaXYWHTRBBoxCoder', edge_swap=True, proj_xy=True, target_stds=(0.1, 0.1, 0.2, 0.2, 0.1)
            ),
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='ChunkedMaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, ignore_iof_thr=0.5
            ),
            sampler=dict(type='RandomSampler', num=256, pos_fraction=0.5, add_gt_as_proposals=False),
            allowed_border=-1,  # images are not much larger than the largest anchors
        ),
        rpn_proposal=dict(nms_pre=500, max_per_img=500, nms=dict(type='nms', iou_threshold=0.8), min_bbox_size=0),
        rcnn=dict(
            assigner=dict(
                type='ChunkedMaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                match_low_quality=False,
                ignore_iof_thr=0.5,
                iou_calculator=dict(type='RBboxOverlaps2D'),
            ),
            sampler=dict(type='RandomSampler', num=256, pos_fraction=0.25, add_gt_as_proposals=True),
        ),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=1000, nms=dict(type='nms', iou_threshold=0.8), min_bbox_size=0),
        rcnn=dict(score_thr=0.05, nms=dict(type='nms_rotated', iou_threshold=0.1), max_per_img=2000),
    ),
)

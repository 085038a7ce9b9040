# S2A-Net on ResNet-50 with FPN on strides 8 to 128, settings as published: https://arxiv.org/abs/2008.09397
num_classes = 15
assigner = dict(
    type='ChunkedMaxIoUAssigner',
    iou_calculator=dict(type='RBboxOverlaps2D'),
    pos_iou_thr=0.5,
    neg_iou_thr=0.4,
    min_pos_iou=0.0,
    ignore_iof_thr=0.4,  # published: -1, objects to ignore are background
)
loss_cls = dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0)
loss_bbox = dict(type='SmoothL1Loss', beta=0.11, loss_weight=1.0)

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
        out_indices=(0, 1, 2, 3),
        frozen_stages=1,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=True,
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=dict(
        type='FPN',
        in_channels=[256, 512, 1024, 2048],
        out_channels=256,
        start_level=1,
        add_extra_convs='on_input',
        num_outs=5,
    ),
    bbox_head=dict(
        type='S2AHead',
        num_classes=num_classes,
        in_channels=256,
        feat_channels=256,
        stacked_convs=2,
        with_orconv=True,
        anchor_generator=dict(
            type='AnchorGenerator',
            scales=[4],
            ratios=[1.0],
            strides=[8, 16, 32, 64, 128],
            center_offset=0.5,  # published: 0, the corner of the cell
        ),
        bbox_coder=dict(
            type='DeltaXYWHTRBBoxCoder',
            norm_factor=1,
            edge_swap=True,  # published: False, with boxes of the form le135
            proj_xy=True,
        ),
        loss_fam_cls=loss_cls,
        loss_fam_bbox=loss_bbox,
        loss_odm_cls=loss_cls,
        loss_odm_bbox=loss_bbox,
    ),
    train_cfg=dict(fam_cfg=dict(assigner=assigner), odm_cfg=dict(assigner=assigner)),
    test_cfg=dict(nms_pre=2000, score_thr=0.05, nms=dict(type='nms_rotated', iou_threshold=0.1), max_per_img=2000),
)

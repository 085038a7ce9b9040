# RoI Transformer with ResNet-50 and FPN, with the settings that mmrotate trains it with on DOTA.
_base_ = './oriented_rcnn_r50_fpn.py'
num_classes = 15
horizontal = dict(
    type='ChunkedMaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, match_low_quality=False, ignore_iof_thr=0.5
)
sampler = dict(type='RandomSampler', num=512, pos_fraction=0.25, add_gt_as_proposals=True)

model = dict(
    rpn_head=dict(
        type='RotatedRPNHead',
        bbox_coder=dict(_delete_=True, type='DeltaXYWHBBoxCoder'),
    ),
    roi_head=dict(
        _delete_=True,
        type='RoITransRoIHead',
        num_stages=2,  # the second one refines; more of them iterate
        stage_loss_weights=[1.0, 1.0],
        bbox_roi_extractor=[
            dict(
                type='SingleRoIExtractor',
                roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0),
                out_channels=256,
                featmap_strides=[4, 8, 16, 32],
                finest_scale=56,  # pixels
            ),
            dict(
                type='RotatedSingleRoIExtractor',
                roi_layer=dict(type='RoIAlignRotated', out_size=7, sample_num=2, clockwise=True),
                out_channels=256,
                featmap_strides=[4, 8, 16, 32],
                finest_scale=56,
            ),
        ],
        bbox_head=[
            dict(
                type='RotatedShared2FCBBoxHead',
                in_channels=256,
                fc_out_channels=1024,
                roi_feat_size=7,
                num_classes=num_classes,
                reg_class_agnostic=True,
                bbox_coder=dict(
                    type='DeltaXYWHTHBBoxCoder',
                    norm_factor=2,  # the angle in turns
                    edge_swap=True,
                    target_stds=(0.1, 0.1, 0.2, 0.2, 1),
                ),
                loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0),
            ),
            dict(
                type='RotatedShared2FCBBoxHead',
                in_channels=256,
                fc_out_channels=1024,
                roi_feat_size=7,
                num_classes=num_classes,
                reg_class_agnostic=False,
                bbox_coder=dict(
                    type='DeltaXYWHTRBBoxCoder',
                    edge_swap=True,
                    proj_xy=True,
                    target_stds=(0.05, 0.05, 0.1, 0.1, 0.5),
                ),
                loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0),
            ),
        ],
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms=dict(iou_threshold=0.7)),
        rcnn=[
            dict(assigner=horizontal, sampler=sampler),
            dict(assigner=dict(horizontal, iou_calculator=dict(type='RBboxOverlaps2D')), sampler=sampler),
        ],
    ),
    test_cfg=dict(rpn=dict(nms=dict(iou_threshold=0.7))),
)

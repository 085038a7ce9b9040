# RTMDet for oriented boxes, size l: CSPNeXt, CSPNeXt-PAFPN on strides 8 to 32, separate norms in the head.
# https://arxiv.org/abs/2212.07784
num_classes = 15
cspnext = 'https://download.openmmlab.com/mmdetection/v3.0/rtmdet/cspnext_rsb_pretrain/cspnext-'

model = dict(
    type='RTMDet',  # with several processes its batch norms are synchronised
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[103.53, 116.28, 123.675],  # ImageNet, BGR, 0-255: so the backbone was trained
        std=[57.375, 57.12, 58.395],
        bgr_to_rgb=False,
        pad_size_divisor=32,  # coarsest stride
    ),
    backbone=dict(
        type='CSPNeXt',
        arch='P5',
        deepen_factor=1.0,
        widen_factor=1.0,
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='SiLU'),
        init_cfg=dict(
            type='Pretrained', prefix='backbone.', checkpoint=f'{cspnext}l_8xb256-rsb-a1-600e_in1k-6a760974.pth'
        ),
    ),
    neck=dict(
        type='CSPNeXtPAFPN',
        in_channels=[256, 512, 1024],
        out_channels=256,
        num_csp_blocks=3,
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='SiLU'),
    ),
    bbox_head=dict(
        type='RotatedRTMDetSepBNHead',
        num_classes=num_classes,
        in_channels=256,
        feat_channels=256,
        stacked_convs=2,
        # points in the centres of the cells; in the published configs offset is 0, which puts them in the corners
        anchor_generator=dict(type='MlvlPointGenerator', offset=0.5, strides=[8, 16, 32]),
        bbox_coder=dict(type='DistanceAnglePointCoder', angle_coder=dict(type='PseudoAngleCoder'), exp_on_reg=True),
        assigner=dict(type='RotatedDynamicSoftLabelAssigner', topk=13, iou_weight=3.0, soft_center_radius=3.0),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type='OrientedIoULoss', mode='iou', loss_weight=2.0),
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='SiLU'),
    ),
    test_cfg=dict(nms_pre=2000, score_thr=0.05, nms=dict(type='nms_rotated', iou_threshold=0.1), max_per_img=2000),
)

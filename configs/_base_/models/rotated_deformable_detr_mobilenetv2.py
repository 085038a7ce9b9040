# Rotated Deformable DETR with MobileNetV2, three levels and narrow layers: small enough for a CPU.
# the last layer of this backbone lies behind the last level and has no gradient: DistributedDataParallel would stop
find_unused_parameters = True
num_classes = 15
embed_dims = 128
attention = dict(embed_dims=embed_dims, num_heads=8, num_levels=3, num_points=4, dropout=0.0)
ffn = dict(embed_dims=embed_dims, feedforward_channels=512, num_fcs=2, ffn_drop=0.0)

model = dict(
    type='RotatedDeformableDETR',
    num_queries=300,
    num_feature_levels=3,
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],  # ImageNet, RGB, 0-255
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,  # coarsest stride: references are fractions of the input, which every level then covers
    ),
    backbone=dict(
        type='MobileNetV2',
        out_indices=(2, 4, 6),
        norm_eval=True,  # batches are too small for statistics; FoldNormHook makes fixed ones cheap
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://mmdet/mobilenet_v2'),
    ),
    neck=dict(
        type='ChannelMapper',
        in_channels=[32, 96, 320],
        kernel_size=1,
        out_channels=embed_dims,
        act_cfg=None,
        norm_cfg=dict(type='GN', num_groups=32),
        num_outs=3,
    ),
    encoder=dict(num_layers=2, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
    decoder=dict(
        num_layers=3,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=embed_dims, num_heads=8, attn_drop=0.0),
            cross_attn_cfg=attention,
            ffn_cfg=ffn,
        ),
    ),
    positional_encoding=dict(num_feats=embed_dims // 2, normalize=True, offset=-0.5, temperature=20),  # of DINO
    bbox_head=dict(
        type='RotatedDeformableDETRHead',
        num_classes=num_classes,
        embed_dims=embed_dims,
        # weights of RHINO, https://arxiv.org/abs/2305.07598
        assigner=dict(
            type='BatchHungarianAssigner',
            match_costs=[
                dict(type='FocalLossCost', weight=2.0),
                dict(type='HausdorffCost', weight=5.0),
                dict(type='GaussianCost', distance='kld', weight=5.0),
            ],
        ),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=5.0),
        loss_angle=dict(type='PeriodicL1Loss', loss_weight=1.6),  # 5 for an angle in half turns
        loss_iou=dict(type='GaussianBoxLoss', distance='kld', loss_weight=5.0),
    ),
    test_cfg=dict(max_per_img=300),
)

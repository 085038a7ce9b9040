# A part: Swin-T with levels of strides 8, 16 and 32. In a config that has it among its bases:
# model = dict(backbone=dict(_delete_=True, **_base_.backbone), neck=dict(in_channels=_base_.backbone_channels))
# With a large weight decay norms and position biases want none: their custom_keys need lr_mult=0.1 as well, since the
# longest key that fits a name counts.
backbone = dict(
    type='SwinTransformer',
    embed_dims=96,
    depths=[2, 2, 6, 2],
    num_heads=[3, 6, 12, 24],
    window_size=7,
    mlp_ratio=4,
    qkv_bias=True,
    drop_path_rate=0.2,
    patch_norm=True,
    out_indices=(1, 2, 3),
    convert_weights=True,  # the names in the published file are not those of mmdet
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
        'swin_tiny_patch4_window7_224.pth',
    ),
)
backbone_channels = [192, 384, 768]

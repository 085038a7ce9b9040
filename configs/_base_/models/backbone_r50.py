# A part: ResNet-50 with levels of strides 8, 16 and 32. In a config that has it among its bases:
# model = dict(backbone=dict(_delete_=True, **_base_.backbone), neck=dict(in_channels=_base_.backbone_channels))
backbone = dict(
    type='ResNet',
    depth=50,
    num_stages=4,
    out_indices=(1, 2, 3),
    frozen_stages=1,
    norm_cfg=dict(type='BN', requires_grad=False),
    norm_eval=True,  # batches are too small for statistics
    style='pytorch',
    init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
)
backbone_channels = [512, 1024, 2048]

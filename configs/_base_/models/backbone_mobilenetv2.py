# A part: MobileNetV2 with levels of strides 8, 16 and 32, small enough for a CPU; for use see backbone_r50.py.
# the last layer of this backbone lies behind the last level and has no gradient: DistributedDataParallel would stop
find_unused_parameters = True
backbone = dict(
    type='MobileNetV2',
    out_indices=(2, 4, 6),
    norm_eval=True,  # batches are too small for statistics; FoldNormHook makes fixed ones cheap
    init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://mmdet/mobilenet_v2'),
)
backbone_channels = [32, 96, 320]

# Pairs of generated scenes, a backbone for each sensor, no alignment: what an aligner has to beat.
# model.sensors='first' or 'second' is the same detector on one sensor.
# Run by us in benchmarks/sensor_shift.py alone, on images of 320 pixels.
_base_ = [
    '../_base_/models/oriented_point_mobilenetv2_fpn.py',
    '../_base_/datasets/scene_pairs.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/runtime/default.py',
]
max_epochs = 12
# ImageNet; infrared and radar come as three equal bands, for which its weights are a start
normalisation = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)

detector = _base_.model
detector.bbox_head.num_classes = 6
detector.backbone.frozen_stages = 2  # the layers before stride 8: costly to train on a CPU
detector.backbone.init_cfg = dict(type='Pretrained', checkpoint='checkpoints/mobilenet_v2.pth')
model = dict(
    _delete_=True,
    type='TwoStreamDetector',
    data_preprocessor=dict(
        type='PairedDetDataPreprocessor',
        first=normalisation,
        second=normalisation,
        pad_size_divisor=32,  # coarsest stride
    ),
    detector=detector,
    second_backbone='copy',
    fusion=dict(type='ConcatFusion', in_channels=[32, 96, 320]),
)
# bfloat16 and channels-last, both together, for CPUs with AVX512-BF16
optim_wrapper = dict(type='AutocastOptimWrapper', dtype='bfloat16')
custom_hooks = [dict(type='FiniteLossHook'), dict(type='ChannelsLastHook'), dict(type='FoldNormHook')]
train_dataloader = dict(batch_size=2)
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
auto_scale_lr = dict(base_batch_size=2)

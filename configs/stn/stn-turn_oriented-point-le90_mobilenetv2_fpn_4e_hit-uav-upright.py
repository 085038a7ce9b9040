# The transformer of stn-turn_..._upright-scenes on thermal images from a drone, of which the oblique ones have an up.
_base_ = './oriented-point-le90_mobilenetv2_fpn_4e_hit-uav-upright.py'
model = dict(
    _delete_=True,
    type='STNDetector',
    detector={{_base_.model}},
    transformer=dict(
        type='SpatialTransformer',
        family='rotation',
        localizer=None,
        orientation=dict(type='OrientationLocalizer', num_orientations=16, margin=4.0),
        thumbnail=64,  # pixels
    ),
    signals=[dict(type='PriorSignal')],
)
# 2e-3 for the localiser; clipped apart from it, the detector is the plain one, bit for bit
optim_wrapper = dict(clip_apart=('transformer',), paramwise_cfg=dict(custom_keys={'transformer': dict(lr_mult=4)}))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='WarpWarmupHook', share=1.0),  # training images stand right: the detector need not see errors
    dict(type='WarpGuardHook'),
    dict(type='WarpPictureHook', num_images=2, turns=(0, 60, 150)),
]

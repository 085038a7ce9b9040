# S2A-Net small enough to train on a CPU, on the scenes of the demo.
_base_ = '../oriented_point/oriented-point-le90_mobilenetv2_fpn_demo_scenes.py'
model = dict(
    neck=dict(num_outs=4),  # a level more than the point head: one anchor a cell has one size
    bbox_head=dict(
        _delete_=True,
        type='S2AHead',
        num_classes=6,
        in_channels=96,
        feat_channels=96,
        norm_cfg=dict(type='GN', num_groups=8, requires_grad=True),
        # squares of 24 to 192 pixels: a car is some 25 x 11, an airliner 200 long
        anchor_generator=dict(
            type='AnchorGenerator', scales=[3], ratios=[1.0], strides=[8, 16, 32, 64], center_offset=0.5
        ),
    ),
)

# S2A-Net small enough to train on a CPU, on thermal images from a drone.
_base_ = '../oriented_point/oriented-point-le90_mobilenetv2_fpn_12e_hit-uav-small.py'
model = dict(
    neck=dict(num_outs=4),  # a level more than the point head: one anchor a cell has one size
    bbox_head=dict(
        _delete_=True,
        type='S2AHead',
        num_classes=4,
        in_channels=96,
        feat_channels=96,
        norm_cfg=dict(type='GN', num_groups=8, requires_grad=True),
        # squares of 16 to 128 pixels: a person is 24 x 14 at 800 x 640
        anchor_generator=dict(
            type='AnchorGenerator', scales=[2], ratios=[1.0], strides=[8, 16, 32, 64], center_offset=0.5
        ),
    ),
)

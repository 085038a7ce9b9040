# The head of RTMDet-R on backbone, neck, data and schedule of its twin: HIT-UAV, 600 images, a CPU.
_base_ = '../oriented_point/oriented-point-le90_mobilenetv2_fpn_12e_hit-uav-small.py'
model = dict(
    bbox_head=dict(
        _delete_=True,
        type='RotatedRTMDetSepBNHead',
        num_classes=4,
        in_channels=96,
        feat_channels=96,
        # as in the twin; an IoU alone is slow to say which way an upright box should turn
        loss_angle=dict(type='MSELoss', loss_weight=0.5),
    ),
)
# convolutions that levels share are found once for each level
optim_wrapper = dict(paramwise_cfg=dict(bypass_duplicate=True))

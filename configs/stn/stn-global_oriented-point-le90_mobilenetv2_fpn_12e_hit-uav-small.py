# The same neck as in stn-global_..._scenes, on thermal images from a drone.
_base_ = '../oriented_point/oriented-point-le90_mobilenetv2_fpn_12e_hit-uav-small.py'
model = dict(
    type='AlignedSingleStageDetector',  # which moves truth and predictions along
    neck=[{{_base_.model.neck}}, dict(type='STNGlobalNeck', in_channels=96, strides=(8, 16, 32))],
)

# All levels of an image are moved by one predicted shift of a twentieth of its size at most.
_base_ = '../oriented_point/oriented-point-le90_mobilenetv2_fpn_demo_scenes.py'
model = dict(
    type='AlignedSingleStageDetector',  # which moves truth and predictions along
    neck=[{{_base_.model.neck}}, dict(type='STNGlobalNeck', in_channels=96, strides=(8, 16, 32))],
)

# Each cell of the pyramid reads its surroundings through a frame of its own, turned and scaled like the object there.
_base_ = '../oriented_point/oriented-point-le90_mobilenetv2_fpn_demo_scenes.py'
model = dict(
    type='AlignedSingleStageDetector',  # which trains the frames
    neck=[{{_base_.model.neck}}, dict(type='STNAlignNeck', in_channels=96, strides=(8, 16, 32))],
)

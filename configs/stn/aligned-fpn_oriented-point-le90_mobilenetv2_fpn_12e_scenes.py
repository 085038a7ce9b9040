# Coarse levels are moved by predicted offsets before they are added to the finer ones.
_base_ = '../oriented_point/oriented-point-le90_mobilenetv2_fpn_demo_scenes.py'
model = dict(neck=dict(type='AlignedFPN'))

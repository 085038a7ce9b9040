# The same pyramid as in aligned-fpn_..._scenes, on thermal images from a drone.
_base_ = '../oriented_point/oriented-point-le90_mobilenetv2_fpn_12e_hit-uav-small.py'
model = dict(neck=dict(type='AlignedFPN'))

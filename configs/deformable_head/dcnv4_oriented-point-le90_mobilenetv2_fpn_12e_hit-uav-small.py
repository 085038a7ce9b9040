# The last convolution of both towers is deformable, version 4; on thermal images from a drone.
_base_ = '../oriented_point/oriented-point-le90_mobilenetv2_fpn_12e_hit-uav-small.py'
model = dict(bbox_head=dict(conv_cfgs=[None, dict(type='DCNv4', deform_groups=4)]))

# The last convolution of both towers is deformable, version 2; on the scenes of the demo.
_base_ = '../oriented_point/oriented-point-le90_mobilenetv2_fpn_demo_scenes.py'
model = dict(bbox_head=dict(conv_cfgs=[None, dict(type='DCNv2')]))

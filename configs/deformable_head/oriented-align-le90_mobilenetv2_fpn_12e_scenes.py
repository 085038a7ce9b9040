# A coarse box of each cell lays the kernel of a convolution before the final one; on the scenes of the demo.
_base_ = '../oriented_point/oriented-point-le90_mobilenetv2_fpn_demo_scenes.py'
model = dict(bbox_head=dict(type='OrientedAlignHead', coarse_weight=0.5))

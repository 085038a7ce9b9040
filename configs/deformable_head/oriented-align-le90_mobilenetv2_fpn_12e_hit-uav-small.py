# A coarse box of each cell lays the kernel of a convolution before the final one; on thermal images from a drone.
_base_ = '../oriented_point/oriented-point-le90_mobilenetv2_fpn_12e_hit-uav-small.py'
model = dict(bbox_head=dict(type='OrientedAlignHead', coarse_weight=0.5))

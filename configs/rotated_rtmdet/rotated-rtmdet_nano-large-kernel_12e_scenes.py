# As rotated-rtmdet_nano_12e_scenes.py, with blocks that choose between a near and a far surrounding.
_base_ = './rotated-rtmdet_nano_12e_scenes.py'
model = dict(backbone=dict(type='LargeKernelCSPNeXt', large_kernel_stages=(2, 3, 4)))
